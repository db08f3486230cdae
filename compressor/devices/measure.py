"""Measure and run an ONNX file: always the final file, always in a fresh process, where its profile says."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from compressor.config.device import DeviceProfile
from compressor.config.run import MeasureSettings
from compressor.devices import child
from compressor.devices.energy import check_log, energy_of_call
from compressor.devices.limits import memory_limit_mb
from compressor.devices.place import Place, place_for
from compressor.devices.rounds import (
    Timing,
    fastest_of,
    fastest_rounds,
    is_slow,
    is_steady,
    needs_another,
    slowdown_of,
    spread_of,
)
from compressor.devices.speed import TIMES, Speed
from compressor.devices.turn import turn_to_measure
from compressor.errors import DeviceError, DeviceMemoryError

Inputs = Mapping[str, np.ndarray]
"""Model inputs by name, each [batch, length]."""

SPEED_TIMEOUT_S = 900.0
ENERGY_RUN = ("started", "ended", "idle_started", "idle_ended", "calls")


@dataclass(frozen=True)
class Row:
    """One line of a comparison: a file with its input (or inputs, taken in turn) and length configuration."""

    name: str
    model_path: Path
    inputs: Inputs | Sequence[Inputs]
    keep: Sequence[float] | None = None
    settings: MeasureSettings | None = None  # None: those of the whole comparison


def measure_speed(
    model_path: Path,
    profile: DeviceProfile,
    settings: MeasureSettings,
    inputs: Inputs | Sequence[Inputs],
    keep: Sequence[float] | None = None,
    *,
    timeout_s: float = SPEED_TIMEOUT_S,
    place: Place | None = None,
) -> Speed:
    """Latency (a fresh process a round), peak memory and energy (in processes of their own) of one file.

    `place`: None is the one that the profile names.

    Raises `DeviceError` when it cannot be measured, or would run on another provider than the profile asks for.
    """
    row = Row("model", model_path, inputs, keep)
    return measure_many([row], profile, settings, timeout_s=timeout_s, place=place)["model"]


def measure_many(
    rows: Sequence[Row],
    profile: DeviceProfile,
    settings: MeasureSettings,
    *,
    timeout_s: float = SPEED_TIMEOUT_S,
    on_step: Callable[[str], None] | None = None,
    place: Place | None = None,
    may_fail: Collection[str] = (),
) -> dict[str, Speed]:
    """Measure several files fairly: in every round each row runs once, in a fresh process, one after the other.

    A machine that is slow for a while then slows all rows, not one, and rounds that its yardstick shows to be slow are
    taken once more, at most as many as there are. `on_step` is told the row's name before each process, of which there
    are `rounds` + 1 a row (memory and energy count as one), but not before those of rounds taken again. `place`: None
    is the one that the profile names. Returns a `Speed` by row name; rows of `may_fail` that run out of memory have
    none.

    Raises `DeviceMemoryError` for any other row that does, `DeviceError` for what else cannot be measured, and
    `DataError`, before anything is, for a meter's log that is none.
    """
    if len({row.name for row in rows}) != len(rows):
        raise ValueError("the rows of a comparison need different names")
    with nullcontext(place) if place else place_for(profile) as where, turn_to_measure(profile.host):
        for row in rows:
            check_log(
                _settings(row, settings), on_device=where.on_device
            )  # what is no log at all is said before anything is measured
        limit = _memory_limit_mb(profile, where)
        timings: dict[str, list[Timing]] = {row.name: [] for row in rows}
        speeds: dict[str, Speed] = {}
        gone: set[str] = set()
        stopped: set[str] = set()  # no more rounds of these: what was found stands

        def time(row: Row) -> None:
            timings[row.name].append(_probe(row, where, "speed", _settings(row, settings), timeout_s))

        for row in _in_turn(rows, settings):
            if row.name not in gone:
                _tell(on_step, row.name)
                with _tolerated(row, may_fail, gone):
                    time(row)
        for row in _slow(rows, settings, timings):
            if row.name not in gone | stopped:
                with _tolerated(row, [row.name], stopped):
                    time(row)
        fastest = _fastest(timings)
        for row in rows:
            if row.name not in gone:
                _tell(on_step, row.name)
                chosen = _settings(row, settings)
                with _tolerated(row, may_fail, gone):
                    memory = _probe(row, where, "memory", chosen, timeout_s, limit_mb=limit)
                    energy = _energy(row, where, profile, chosen)
                    best = fastest_rounds(timings[row.name], chosen.rounds)
                    speeds[row.name] = _speed(row, where, chosen, best, memory, energy, fastest)
    return speeds


def _memory_limit_mb(profile: DeviceProfile, where: Place) -> float | None:
    """What a model may take; None also where a GPU runs it, whose memory is not in a process's peak."""
    return memory_limit_mb(profile, where.memory_mb) if _on_cpu(where.placement()["providers"][0][0]) else None


def _on_cpu(provider: str) -> bool:
    return provider == child.CPU


def _in_turn(rows: Sequence[Row], settings: MeasureSettings) -> Iterator[Row]:
    """Each row once in every round, for as many rounds as it has."""
    rounds = [_settings(row, settings).rounds for row in rows]
    for turn in range(max(rounds, default=0)):
        yield from (row for row, most in zip(rows, rounds, strict=True) if turn < most)


def _slow(rows: Sequence[Row], settings: MeasureSettings, timings: Mapping[str, Sequence[Timing]]) -> Iterator[Row]:
    """Rows that have too few rounds from times when the machine was not slow, in turn; `timings` grows meanwhile."""
    for turn in range(max((_settings(row, settings).rounds for row in rows), default=0)):
        for row in rows:
            count = _settings(row, settings).rounds
            if turn < count and needs_another(timings[row.name], count, _fastest(timings)):
                yield row


def _fastest(timings: Mapping[str, Sequence[Timing]]) -> float | None:
    """The yardstick of the fastest round of all rows."""
    return fastest_of(timing.get("yardstick_ms") for taken in timings.values() for timing in taken)


@contextmanager
def _tolerated(row: Row, may_fail: Collection[str], gone: set[str]) -> Iterator[None]:
    """Take note of a row that runs out of memory, if it may."""
    try:
        yield
    except DeviceMemoryError:
        if row.name not in may_fail:
            raise
        gone.add(row.name)


def measure_turns(
    model_path: Path, place: Place, inputs: Inputs, keeps: Sequence[Sequence[float]], *, warmup: int, runs: int
) -> list[float]:
    """p50 in milliseconds of each of several length configurations, taken in turn in one process.

    Raises `DeviceError` when it cannot be measured.
    """
    request = {
        "mode": "turns",
        "model": str(Path(model_path).resolve()),
        "inputs": "inputs.npz",
        "keeps": [[float(value) for value in keep] for keep in keeps],
        "warmup": warmup,
        "runs": runs,
        **place.placement(),
    }
    with child.work_folder() as folder:
        child.write_arrays(folder / "inputs.npz", {f"0/{name}": array for name, array in inputs.items()})
        answer = place.run_probe(request, folder, timeout_s=SPEED_TIMEOUT_S)
    return [float(np.median(times)) for times in answer["times_ms"]]


def _settings(row: Row, settings: MeasureSettings) -> MeasureSettings:
    return row.settings or settings


def _tell(on_step: Callable[[str], None] | None, name: str) -> None:
    if on_step:
        on_step(name)


def _input_sets(row: Row) -> list[Inputs]:
    sets = [row.inputs] if isinstance(row.inputs, Mapping) else list(row.inputs)
    if not sets:
        raise DeviceError(f"'{row.name}' has no input to be measured with.")
    return sets


def _probe(
    row: Row, where: Place, mode: str, settings: MeasureSettings, timeout_s: float, **more: Any
) -> dict[str, Any]:
    request = {
        "mode": mode,
        "model": str(Path(row.model_path).resolve()),
        "inputs": "inputs.npz",
        "keep": None if row.keep is None else [float(value) for value in row.keep],
        "warmup": settings.warmup,
        "runs": settings.runs,
        **more,
        **where.placement(),
    }
    arrays = {
        f"{index}/{name}": array for index, inputs in enumerate(_input_sets(row)) for name, array in inputs.items()
    }
    with child.work_folder() as folder:
        child.write_arrays(folder / "inputs.npz", arrays)
        return where.run_probe(request, folder, timeout_s=timeout_s)


def _energy(row: Row, where: Place, profile: DeviceProfile, settings: MeasureSettings) -> dict[str, Any]:
    def run(meter: str, seconds: float, idle_s: float) -> dict[str, Any]:
        more = {"meter": meter, "seconds": seconds, "idle_seconds": idle_s}
        return _probe(row, where, "energy", settings, SPEED_TIMEOUT_S, **more)

    return energy_of_call(run, profile, settings, on_device=where.on_device)


def _memory_note(memory: Mapping[str, Any], provider: str) -> str:
    """By what the limit was held, and what happened."""
    if not _on_cpu(provider):
        return f"not tried: what {provider} takes on the GPU is not counted"
    if not memory.get("limit_mb"):
        return "not tried: the profile names no memory"
    held = {"cgroup": "a control group", "rlimit_data": "RLIMIT_DATA", "nothing": "no limit"}[memory["limited_by"]]
    note = f" ({memory['limit_note']})" if memory["limit_note"] else ""
    return f"run under {memory['limit_mb']:.0f} MiB by {held}{note}"


def _speed(
    row: Row,
    where: Place,
    settings: MeasureSettings,
    timings: Sequence[Timing],
    memory: dict[str, Any],
    energy: dict[str, Any],
    fastest_ms: float | None,
) -> Speed:
    times = np.concatenate([np.asarray(timing["times_ms"]) for timing in timings])
    p50, p90, p99 = (float(value) for value in np.percentile(times, (50, 90, 99)))
    samples = [next(iter(inputs.values())) for inputs in _input_sets(row)]
    ran = [timing["layers_run"] for timing in timings if timing.get("layers_run") is not None]
    medians = tuple(float(np.median(timing["times_ms"])) for timing in timings)
    spread = spread_of(medians)
    yardsticks = tuple(timing["yardstick_ms"] for timing in timings if timing.get("yardstick_ms"))
    slowdown = slowdown_of(yardsticks, fastest_ms)
    last = timings[-1]
    return Speed(
        p50_ms=p50,
        p90_ms=p90,
        p99_ms=p99,
        mean_ms=float(times.mean()),
        first_call_ms=float(np.median([timing["first_call_ms"] for timing in timings])),
        session_ms=float(np.median([timing["session_ms"] for timing in timings])),
        throughput_per_s=sum(timing["rows"] for timing in timings) / (float(times.sum()) / 1e3),
        peak_memory_mb=memory["peak_memory_mb"],
        baseline_memory_mb=memory["baseline_memory_mb"],
        energy_mj=energy["energy_mj"],
        energy_note=energy["note"],
        batch_size=int(samples[0].shape[0]),
        length=round(float(np.mean([sample.shape[1] for sample in samples]))),
        keep=None if row.keep is None else tuple(float(value) for value in row.keep),
        runs=settings.runs,
        rounds=len(timings),
        round_p50_ms=medians,
        threads=last["threads"],
        providers=tuple(last["providers"]),
        nodes_by_provider=last.get("nodes_by_provider"),
        onnxruntime=last["onnxruntime"],
        on_device=where.on_device,
        measured_on=where.measured_on,
        times_ms=tuple(round(float(time), 4) for time in times[:: math.ceil(len(times) / TIMES)]),
        spread=spread,
        steady=False if is_slow(slowdown) else is_steady(spread),
        round_yardstick_ms=yardsticks,
        slowdown=slowdown,
        fits_memory=memory.get("fits"),
        memory_limit_mb=memory.get("limit_mb"),
        memory_note=_memory_note(memory, last["providers"][0]),
        energy_above_idle_mj=energy.get("energy_above_idle_mj"),
        idle_w=energy.get("idle_w"),
        power_w=energy.get("power_w"),
        inputs=len(samples),
        layers_run=float(np.mean(ran)) if ran else None,
        energy_run={name: energy[name] for name in ENERGY_RUN if name in energy} or None,
        facts=None if where.facts is None else dict(where.facts),
    )
