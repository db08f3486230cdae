"""Prices without any measuring: what runs out of memory, what is asked again, and what a board's prices depend on."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from compressor.advisor import finals, pricing
from compressor.advisor.advise import lay_out_items, make_pricer
from compressor.advisor.limits import Limit
from compressor.advisor.prices import Item, out_of_memory
from compressor.advisor.pricing import Pricer, price_all
from compressor.advisor.requests import ask
from compressor.cache import Cache
from compressor.devices import measure
from compressor.devices.speed import Speed
from compressor.errors import DeviceMemoryError, RequestError, UnreachableError
from compressor.pipeline import prepare
from compressor.progress import Silent
from tests.advisor.test_advise import TINY

LIMITS = [Limit("max_latency_ms", 10_000.0)]


def speed(p50_ms: float) -> Speed:
    """A speed as it would have been measured."""
    values = {field.name: None for field in dataclasses.fields(Speed)}
    given = {"p50_ms": p50_ms, "peak_memory_mb": 90.0, "baseline_memory_mb": 50.0, "keep": None, "times_ms": ()}
    return Speed(**{**values, **given, "measured_on": "host", "on_device": True})  # type: ignore[arg-type]


class Measured:
    """Stands for `measure_many`: rows of some names run out of memory, as `may_fail` allows or not."""

    def __init__(self, *large: str) -> None:
        self.large = large
        self.asked: list[list[str]] = []

    def __call__(self, rows: Sequence[measure.Row], *_: Any, may_fail: Sequence[str] = (), **__: Any) -> Any:
        names = [row.name for row in rows]
        self.asked.append(names)
        gone = [name for name in names if any(part in name for part in self.large)]
        if set(gone) - set(may_fail):
            raise DeviceMemoryError(f"{gone[0]} ran out of memory")
        return {name: speed(1.0 + place) for place, name in enumerate(names) if name not in gone}


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Item], Pricer]:
    """The candidates of a tiny grid, and what takes their prices."""
    output = tmp_path_factory.mktemp("prices")
    question = ask([*TINY, f"output={output}", "max_latency_ms=10000"])
    steps, _, _ = prepare(question.request, Cache(output / ".cache"), Silent())
    items, _ = lay_out_items(question, [steps])
    return items, make_pricer(question, steps)


@pytest.fixture
def fresh(asked: tuple[list[Item], Pricer], tmp_path: Path) -> tuple[list[Item], Pricer]:
    """The same that knows nothing yet."""
    items, known = asked
    return items, Pricer(known.request, known.settings, Cache(tmp_path / ".cache"), known.progress, known.length)


def test_what_runs_out_of_memory_is_left_out_and_the_others_go_on(
    fresh: tuple[list[Item], Pricer], monkeypatch: pytest.MonkeyPatch
) -> None:
    items, pricer = fresh
    one = Measured("l4-w100-fp32")
    monkeypatch.setattr(measure, "measure_many", one)

    prices = price_all(items, {}, LIMITS, pricer)

    assert dict(prices.impossible) == {"l4-w100-fp32": "ran out of memory on the device"}
    assert {member.name for member in prices.priced} == {item.name for item in items} - {"l4-w100-fp32"}
    assert sum("l4-w100-fp32" in names for names in one.asked) == 1  # and is not tried again
    assert len(prices.calibration.shapes if prices.calibration else []) == 5
    kept = {entry.title for entry in pricer.cache.entries()}
    assert "price of l4-w100-fp32" not in kept and len(kept) >= 5


def test_where_nothing_runs_there_is_no_price(
    fresh: tuple[list[Item], Pricer], monkeypatch: pytest.MonkeyPatch
) -> None:
    items, pricer = fresh
    monkeypatch.setattr(measure, "measure_many", Measured("l"))
    with pytest.raises(RequestError, match="no candidate of the grid has a price: ran out of memory on the device"):
        price_all(items[:2], {}, LIMITS, pricer)


def test_a_finalist_that_runs_out_of_memory_failed(
    asked: tuple[list[Item], Pricer], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    items, _ = asked
    question = ask([*TINY, f"output={tmp_path}", "max_latency_ms=10000"])
    chosen: Any = SimpleNamespace(name=items[0].name, candidate=items[0].candidate)

    def run(error: Exception) -> Any:
        def fail(*_: Any, **__: Any) -> None:
            raise error

        monkeypatch.setattr(finals, "run", fail)
        return finals.run_final(question, chosen, LIMITS, Silent())

    final = run(DeviceMemoryError("model.onnx ran out of memory"))
    assert (final.met, final.manifest, final.reason) == (False, None, "ran out of memory on the device")
    with pytest.raises(UnreachableError):
        run(UnreachableError("gone"))


def test_memory_is_of_the_machine_that_measures() -> None:
    profile = ask([*TINY, "device=raspberry_pi_4", "max_latency_ms=5"]).request.device
    assert out_of_memory(profile) == "ran out of memory on this machine"
    assert out_of_memory(dataclasses.replace(profile, host="pi@board")) == "ran out of memory on the device"


def test_a_boards_prices_depend_on_the_board(
    asked: tuple[list[Item], Pricer], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    items, known = asked
    facts = {
        "cpu": "Cortex-A72",
        "board": "Raspberry Pi 4",
        "memory_mb": 3800,
        "onnxruntime": "1.22.0",
        "os": "Linux 6",
    }
    opened: list[str] = []
    monkeypatch.setattr(pricing, "place_for", _board(facts, opened))

    def key(**changes: Any) -> str:
        facts.update(changes)
        device = dataclasses.replace(known.request.device, host="pi@board")
        request = dataclasses.replace(known.request, device=device)
        pricer = Pricer(request, known.settings, Cache(tmp_path), known.progress, known.length)
        found = {pricer._key(item) for item in (items[0], items[0])}
        assert len(found) == 1
        return found.pop()

    first = key()
    assert opened == ["pi@board"]  # one connection, whatever is asked
    assert key() == first and key(os="Linux 7") == first
    others = [key(onnxruntime="1.23.0"), key(memory_mb=1800), key(board="Raspberry Pi 5"), key(cpu="Cortex-A76")]
    assert len({first, *others}) == 5


def _board(facts: dict[str, Any], opened: list[str]) -> Any:
    @contextmanager
    def place_for(profile: Any) -> Iterator[Any]:
        opened.append(profile.host)
        yield SimpleNamespace(facts=dict(facts))

    return place_for
