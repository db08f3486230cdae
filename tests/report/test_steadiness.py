"""What runs of one machine tell of each other's latencies."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from compressor.artifact.manifest import Manifest
from compressor.report.details import steadiness
from compressor.report.entry import Entry
from compressor.report.gather import gather
from compressor.report.page import render_run
from tests.report.made import manifest, put, without

HOST = {"cpu": "a processor", "cores": 2, "flags": ["avx2"], "libraries": {"numpy": "2.3"}}


def run(
    yardstick: Any, *, seed: int = 1, p50_ms: float = 5.0, host: dict[str, Any] = HOST, file: str = "", **more: Any
) -> Manifest:
    made = manifest(seed=seed, p50_ms=p50_ms)
    artifact = {**made.speed["artifact"], "round_yardstick_ms": yardstick, **more}
    files = {**made.files, "model.onnx": file or str(seed)}
    return without(made, speed={**made.speed, "artifact": artifact}, host=host, files=files)


def gathered(place: Path, *runs: Manifest) -> list[Entry]:
    for number, one in enumerate(runs):
        put(place / str(number), one)
    found = gather([place])
    assert len(found.entries) == len(runs) and not found.problems
    return found.entries


def test_a_machine_that_was_slow_all_the_time_is_told_beside_others(tmp_path: Path) -> None:
    first, second, third = gathered(tmp_path, run([0.5, 0.51]), run([0.8, 0.8], seed=2), run([], seed=3))
    assert [entry.noisy for entry in (first, second, third)] == [False, True, False]
    assert "took 60 % longer beside it" in steadiness(second)
    assert "apart." in steadiness(first) and third.steadiness.slowdown is None


def test_what_a_run_said_of_itself_stands(tmp_path: Path) -> None:
    made = run([0.8, 0.8], slowdown=0.6)
    (entry,) = gathered(tmp_path, made)
    assert entry.noisy and entry.steadiness.slowdown == 0.6 and "took 60 % longer" in render_run(made)


@pytest.mark.parametrize(
    "other",
    [{**HOST, "cores": 64}, {**HOST, "libraries": {"numpy": "1.26"}}, {}],
    ids=["more cores", "another numpy", "not known"],
)
def test_only_one_machine_with_one_numpy_is_compared(tmp_path: Path, other: dict[str, Any]) -> None:
    assert not any(entry.noisy for entry in gathered(tmp_path, run([0.5]), run([0.8], seed=2, host=other)))


def test_measurements_of_one_file_have_to_agree(tmp_path: Path) -> None:
    first, second = gathered(tmp_path, run([0.5], file="same"), run([0.54], seed=2, p50_ms=5.4, file="same"))
    assert first.noisy and second.noisy and "measurements of the same file there 8 %" in steadiness(first)
    slow = run([0.8], seed=3, p50_ms=9.0, file="same")
    alone, disturbed = gathered(tmp_path / "more", run([0.5], file="same"), slow)
    assert disturbed.noisy and not alone.noisy  # what is told already blames no other
    made = without(run([0.5], seed=3, file="a"), graph="same")  # two requests write the same graph into two files
    again = without(run([0.5], seed=4, p50_ms=9.0), graph="same", files={})  # `validate` keeps no file
    assert all(entry.noisy for entry in gathered(tmp_path / "graphs", made, again))
    others = gathered(tmp_path / "others", run([0.5], file="one"), run([0.5], seed=2, p50_ms=9.0, file="another"))
    assert not any(entry.noisy for entry in others)


@pytest.mark.parametrize(
    "odd", [{"yardstick": ["a", "b"]}, {"yardstick": [None, 1.0]}, {"yardstick": [-1.0, 1.0]}, {"yardstick": 5},
            {"yardstick": [[1]]}, {"yardstick": [0.5], "threads": [2]}, {"yardstick": [0.5], "slowdown": "x"}],
    ids=str,
)  # fmt: skip
def test_odd_values_are_not_known(tmp_path: Path, odd: dict[str, Any]) -> None:
    yardstick = odd.pop("yardstick")
    entries = gathered(tmp_path, run([0.5]), run(yardstick, seed=2, **odd))
    assert not any(entry.noisy for entry in entries)
