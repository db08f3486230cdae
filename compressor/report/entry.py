"""What a page shows of a run or a candidate: named figures with where they come from. Light."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from compressor.artifact.manifest import Manifest
from compressor.report.steadiness import Steadiness, beside_each_other

Origin = Literal["device", "host", "predicted", "file"]
"""Where a figure comes from: the device itself, another machine, a cost model; or it is a property of the file, and the
same everywhere. An emulated processor gives answers and no figures."""

State = Literal["artifact", "recommended", "refused", "failed", "candidate", "stopped", "ruled out", "missing"]
STATES: Mapping[State, str] = {
    "artifact": "written: every gate is met",
    "recommended": "the answer: it meets every limit",
    "refused": "it misses a gate",
    "failed": "the run ended with an error",
    "candidate": "priced, but not trained",
    "stopped": "trained for a while, and left behind by better ones",
    "ruled out": "cannot meet a limit",
    "missing": "not run yet",
}


@dataclass(frozen=True)
class Axis:
    """What a kind of figure is called, its unit, whether more is better, and the digits it is shown with."""

    label: str
    unit: str
    more_is_better: bool = False
    digits: int = 2


FIGURES: Mapping[str, Axis] = {
    "metric": Axis("metric", "points", more_is_better=True),
    "search_metric": Axis("metric on the search part", "points", more_is_better=True),
    "metric_drop": Axis("below the teacher", "points"),
    "p50_ms": Axis("latency p50", "ms"),
    "p90_ms": Axis("latency p90", "ms"),
    "p99_ms": Axis("latency p99", "ms"),
    "first_call_ms": Axis("first call", "ms"),
    "tokenization_ms": Axis("tokenization", "ms"),
    "peak_memory_mb": Axis("peak memory", "MiB", digits=0),
    "size_mb": Axis("size", "MB", digits=1),
    "energy_mj": Axis("energy a call", "mJ"),
    "gmacs": Axis("multiplications", "GMACs", digits=3),
    "training_s": Axis("training", "s", digits=0),
}
"""Everything that can be a column or an axis, in the order of the table's columns."""

_SAME = 0.005
"""Points within which two figures are the same one, computed twice."""

OF_SPEED = ("p50_ms", "p90_ms", "p99_ms", "first_call_ms", "peak_memory_mb", "energy_mj")


@dataclass(frozen=True)
class Figure:
    """One number; `where` says in words what it was taken on, `low` and `high` are its interval if there is one."""

    value: float
    origin: Origin
    where: str = ""
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One run or candidate. `figures` is keyed by the names of `FIGURES`; what was not measured is not there.

    `command` runs it again (words after `python -m compressor`). `reason` says why it was refused, stopped or ruled
    out. `manifest` has all the rest where the run was made: stages, dials, the times, the gates.
    """

    name: str
    state: State
    task: str
    data: str
    device: str
    recipe: str = ""
    metric_name: str = "metric"
    figures: Mapping[str, Figure] = field(default_factory=dict)
    command: Sequence[str] = ()
    reason: str = ""
    folder: str = ""  # where its manifest lies, relative to the page
    steadiness: Steadiness = Steadiness()  # of the machine, while its latency was taken
    fits_memory: bool | None = None  # whether it ran in the memory that the device has for it; None: not known
    manifest: Manifest | None = None
    pareto: bool = False  # of an advice: trained in full, and beaten by none that was

    def value(self, figure: str) -> float | None:
        """A figure's number, or None."""
        found = self.figures.get(figure)
        return None if found is None else found.value

    @classmethod
    def from_manifest(cls, manifest: Manifest, *, folder: str = "", reason: str = "", name: str = "") -> Entry:
        """The entry of a run that was made: an artifact, or refused where one of its gates is missed."""
        missed = [gate for gate in manifest.gates if gate.get("passed") is False]
        recipe = str(manifest.request.get("recipe", {}).get("name", "model"))
        return cls(
            name=name or recipe,
            state="refused" if missed else "artifact",
            task=manifest.task,
            data=str(manifest.data.get("name") or "data"),
            device=str(manifest.device.get("name") or "a device"),
            recipe=recipe,
            metric_name=manifest.metric_name,
            figures=_figures(manifest),
            reason=reason or "; ".join(_missed(gate) for gate in missed),
            command=tuple(manifest.command),
            folder=folder,
            steadiness=Steadiness.of_run(manifest),
            fits_memory=fits(manifest.speed.get("artifact", {})),
            manifest=manifest,
        )

    @property
    def noisy(self) -> bool:
        """Whether the machine was too noisy for its latency to be believed."""
        return self.steadiness.noisy

    @property
    def measured_on(self) -> str:
        """Where its times, memory and energy were taken, in words; empty where nothing says so."""
        return next((self.figures[name].where for name in OF_SPEED if name in self.figures), "")

    @property
    def measured_anew(self) -> bool:
        """Whether these are figures of an artifact that `validate` took once more, and not of the run that made it."""
        return tuple(self.command[:1]) == ("validate",)

    def origin_of(self, measured_on: str | None) -> Origin:
        """Where a step's time comes from, by its words: those of the run, or with the name of the device first."""
        own = self.figures.get("p50_ms")
        if own is not None and measured_on in (None, own.where):
            return own.origin
        return "device" if (measured_on or "").startswith(f"{self.device} (") else "host"

    def renamed(self, name: str) -> Entry:
        """The same under another name, where several would have one."""
        return dataclasses.replace(self, name=name)


def _figures(manifest: Manifest) -> dict[str, Figure]:
    found: dict[str, Figure] = {}
    for name, value in manifest.metrics.items():
        if name == manifest.metric_name:
            found["metric"] = Figure(value, "file", "the file itself, on held-out data")
    teacher = manifest.teacher.get("metrics", {}).get(manifest.metric_name)
    if teacher is not None and "metric" in found:
        drop = teacher - found["metric"].value
        low, high = _interval(manifest, drop)
        found["metric_drop"] = Figure(drop, "file", "against the teacher on the same examples", low, high)
    speed = manifest.speed.get("artifact", {})
    for name in OF_SPEED:
        if isinstance(speed.get(name), int | float):
            found[name] = Figure(float(speed[name]), origin(speed), str(speed.get("measured_on", "")))
    for taken in manifest.measurements:
        if taken.name == "tokenization p50" and taken.value is not None:
            found["tokenization_ms"] = Figure(taken.value, "device" if taken.on_device else "host", taken.where)
    last = manifest.stages[-1] if manifest.stages else None
    if last is not None and last.size_bytes is not None:
        found["size_mb"] = Figure(last.size_bytes / 1e6, "file", "model.onnx")
    if last is not None and last.macs is not None:
        found["gmacs"] = Figure(last.macs / 1e9, "file", "counted from the graph's shape")
    seconds = [row.seconds for row in manifest.stages if row.seconds is not None]
    if seconds:
        found["training_s"] = Figure(sum(seconds), "host", str(manifest.host.get("cpu") or ""))
    return found


def _interval(manifest: Manifest, drop: float) -> tuple[float | None, float | None]:
    """The bootstrap's interval, where the metric is the mean of the examples' scores that it was drawn from."""
    interval = (manifest.agreement or {}).get("interval") or {}
    if abs(interval.get("difference", math.inf) + drop) > _SAME:
        return None, None
    return -float(interval["high"]), -float(interval["low"])


def fits(speed: Mapping[str, Any]) -> bool | None:
    """Whether what a `Speed` mapping is of ran in the device's memory; None: it was not tried, or ended otherwise."""
    found = speed.get("fits_memory")
    return found if isinstance(found, bool) else None


def origin(speed: Mapping[str, Any]) -> Origin:
    """Where the figures of a `Speed` mapping come from."""
    return "device" if speed.get("on_device") else "host"


def _missed(gate: Mapping[str, Any]) -> str:
    value = gate.get("value")
    shown = "no figure" if value is None else f"{value:.4g}"
    note = f" ({gate['note']})" if gate.get("note") else ""
    return f"{gate.get('name')}: {shown}, limit {gate.get('limit'):g} {gate.get('unit', '')}".rstrip() + note


def compared(entries: Sequence[Entry]) -> list[Entry]:
    """The same, with what runs of one machine tell of each other's latencies."""
    told = beside_each_other([entry.steadiness for entry in entries])
    return [dataclasses.replace(entry, steadiness=one) for entry, one in zip(entries, told, strict=True)]
