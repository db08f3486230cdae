"""What a speed measurement found, and where."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

TIMES = 240
"""Times that are kept of one measurement, to show how they are distributed."""


@dataclass(frozen=True)
class Speed:
    """Latency, memory and energy of one file with one input; times in milliseconds, memory in MiB.

    Percentiles are over the timed runs of all rounds; `round_p50_ms` shows how steady the machine was.
    `on_device` is False for figures that do not come from the device of the profile; `measured_on` says it in words.
    """

    p50_ms: float
    p90_ms: float
    p99_ms: float
    mean_ms: float
    first_call_ms: float  # the first run after loading; median of the rounds
    session_ms: float  # loading the model; median of the rounds
    throughput_per_s: float  # rows of the batch per second
    peak_memory_mb: float | None  # of the whole process, in a run of its own; None: not measured
    baseline_memory_mb: float | None  # of the process before it loaded the model
    energy_mj: float | None  # per call; None: not measured
    energy_note: str
    batch_size: int
    length: int  # padded tokens of the (first) input
    keep: tuple[float, ...] | None
    runs: int  # timed runs a round
    rounds: int
    round_p50_ms: tuple[float, ...]
    threads: int
    providers: tuple[str, ...]  # read back from the session
    nodes_by_provider: dict[str, int] | None  # what really ran where; None: only one provider
    onnxruntime: str
    on_device: bool
    measured_on: str
    times_ms: tuple[float, ...] = ()  # timed runs in their order, evenly thinned to at most `TIMES` of them

    def to_mapping(self) -> dict[str, Any]:
        """Plain JSON values."""
        mapping = dataclasses.asdict(self)
        return {key: list(value) if isinstance(value, tuple) else value for key, value in mapping.items()}
