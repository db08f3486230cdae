"""What a speed measurement found, and where."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from compressor.devices.rounds import doubts_of

TIMES = 240
"""Times that are kept of one measurement, to show how they are distributed."""


@dataclass(frozen=True)
class Speed:
    """Latency, memory and energy of one file with one input, or several in turn; times in milliseconds, memory in MiB.

    Percentiles are over the timed runs of all rounds; `round_p50_ms` and `round_yardstick_ms` show how steady the
    machine was.
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
    length: int  # padded tokens of the input; of inputs in turn, the mean
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
    spread: float | None = None  # of the rounds' p50: largest less smallest, over their median; None: a single round
    steady: bool | None = None  # rounds agree within 5 %, and none was slow; False: too noisy; None: a single round
    round_yardstick_ms: tuple[float, ...] = ()  # one and the same product of numpy's beside each round; none: a GPU's
    slowdown: float | None = None  # share by which that took longer than in the fastest round of all that was compared
    fits_memory: bool | None = None  # the run ended well under `memory_limit_mb`; None: not tried, or ended otherwise
    memory_limit_mb: float | None = None  # the device's memory less its system's share
    memory_note: str = ""  # by what the limit was held, and what happened
    energy_above_idle_mj: float | None = None  # per call, less what the idle board takes in that time
    idle_w: float | None = None
    power_w: float | None = None  # while the model runs without a pause
    energy_run: dict[str, float] | None = None  # started, ended, idle_started, idle_ended (epoch seconds), calls
    inputs: int = 1  # taken in turn
    layers_run: float | None = None  # mean of the timed runs, where the model can stop early
    facts: dict[str, Any] | None = None  # of the machine, where it is not this one

    def to_mapping(self) -> dict[str, Any]:
        """Plain JSON values, without the facts of the machine."""
        mapping = dataclasses.asdict(self)
        del mapping["facts"]
        return {key: list(value) if isinstance(value, tuple) else value for key, value in mapping.items()}

    def doubts(self) -> list[str]:
        """Why these times are not to be believed, in words; none where nothing speaks against them."""
        return doubts_of(self.spread, self.slowdown)

    def taken_with(self) -> str:
        """What was timed, in words: so many real tokens, or held-out texts and the layers that they ran."""
        ran = "" if self.layers_run is None else f" that ran {self.layers_run:.2f} layers in the mean"
        if self.inputs == 1:
            return f"{self.length} real tokens{ran}"
        return f"{self.inputs} held-out texts in turn ({self.length} tokens in the mean){ran}"
