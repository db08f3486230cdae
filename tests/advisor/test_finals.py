"""What an advice says of a full run that misses a limit."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from compressor.advisor import finals
from compressor.advisor.limits import Limit
from compressor.errors import GateRefusedError
from compressor.progress import Silent
from tests.report.made import manifest


@pytest.fixture
def question(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Whose runs go to `tmp_path`; what a run does and leaves is the test's."""
    request = SimpleNamespace(artifact=tmp_path, output=tmp_path, place=".")
    (tmp_path / finals.REFUSED).mkdir()
    monkeypatch.setattr(finals, "write_recipe", lambda *_: None)
    monkeypatch.setattr(finals, "own_words", lambda *_: [])
    monkeypatch.setattr(finals, "build", lambda *_, **__: request)
    return SimpleNamespace(config_dirs=[], folder=tmp_path)


CHOSEN: Any = SimpleNamespace(name="l2", candidate=None)


@pytest.mark.parametrize(
    ("rounds", "yardstick", "limit", "said"),
    [
        (
            (1.0, 1.0, 1.0),
            0.8,
            Limit("max_latency_ms", 2.0),
            " (the machine was too noisy: the processor was 60 % slower than at other times)",
        ),
        ((1.0, 1.4, 1.0), 0.5, Limit("max_latency_ms", 2.0), " (the machine was too noisy: rounds differ by 40 %)"),
        ((1.0, 1.01, 1.0), 0.5, Limit("max_latency_ms", 2.0), ""),
        ((1.0, 1.4, 1.0), 0.5, Limit("max_size_mb", 2.0), ""),
    ],
)
def test_a_latency_of_a_noisy_machine_is_told(
    rounds: tuple[float, ...],
    yardstick: float,
    limit: Limit,
    said: str,
    question: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    runs = []

    def refuse(request: Any, progress: Any) -> None:
        runs.append(request)
        raise GateRefusedError("no artifact was written")

    made = manifest(rounds=rounds)
    made.speed["artifact"]["round_yardstick_ms"] = [yardstick]
    monkeypatch.setattr(finals, "run", refuse)
    monkeypatch.setattr(finals.manifests, "read", lambda _: made)
    final = finals.run_final(question, CHOSEN, [limit], Silent(), 0.5)
    assert len(runs) == (2 if said else 1)
    assert not final.met and final.reason.endswith(f"against {limit.name} = 2{said}")


@pytest.mark.parametrize("fits", [True, False, None])
def test_what_does_not_run_in_the_devices_memory_is_no_answer(
    fits: bool | None, question: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = manifest()
    made.speed["artifact"] |= {"fits_memory": fits, "memory_limit_mb": 64.0}
    monkeypatch.setattr(finals, "run", lambda *_: None)
    monkeypatch.setattr(finals.manifests, "read", lambda _: made)
    final = finals.run_final(question, CHOSEN, [Limit("max_latency_ms", 1000.0)], Silent())
    assert final.met == (fits is not False)
    assert final.reason == ("" if final.met else "it does not run in the 64 MiB that the device has for it")
