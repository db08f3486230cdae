"""Gates: limits that the artifact must meet. Accuracy, parity and size are always judged, speed only on the device."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from compressor.config.run import GateSettings
from compressor.devices import rounds
from compressor.errors import DeviceError, GateRefusedError

_DIGITS = 9
"""Of a difference of metrics: a manifest's own are rounded behind these."""


@dataclass(frozen=True)
class Facts:
    """What was measured; None where it was not."""

    metric_name: str
    metric: float  # points
    teacher_metric: float | None
    parity_max_abs: float | None  # largest |difference| of logits, PyTorch against the float32 graph
    parity_tolerance: float
    size_bytes: int  # model.onnx
    p50_ms: float | None = None
    teacher_p50_ms: float | None = None  # of the teacher's float32 export, with the same input
    peak_memory_mb: float | None = None
    teacher_is_here: bool = True  # False where only the artifact can be measured
    device: str = "the device"
    measured_on: str = "this machine"
    device_agreement: float | None = None  # % of a sample that the board answers as this machine does; None: no board
    answers_from: str = ""  # where those answers come from: the board, or an emulation of it
    doubts: Sequence[str] = ()  # why its times, or the teacher's, are not to be believed


@dataclass(frozen=True)
class Verdict:
    """One gate: `passed` is None where it was not judged; `note` says why, or what the figure is of."""

    name: str
    limit: float
    value: float | None
    unit: str
    judged: bool
    passed: bool | None
    note: str = ""

    def sentence(self) -> str:
        """The verdict in words."""
        shown = "no figure" if self.value is None else f"{self.value:.4g} {self.unit}".strip()
        state = "not judged" if not self.judged else "met" if self.passed else "missed"
        note = f" ({self.note})" if self.note else ""
        return f"{self.name}: {shown}, limit {self.limit:g} {self.unit}".rstrip() + f": {state}{note}"


@dataclass(frozen=True)
class _Gate:
    name: str
    limit: float | None
    value: float | None
    unit: str
    side: Literal["most", "least"]
    of_device: bool
    note: str = ""


def judge(gates: GateSettings, facts: Facts, on_device: bool) -> list[Verdict]:
    """One verdict a gate that is switched on, in a fixed order.

    Speed and memory are judged only when the figures come from the device itself (`on_device`).
    Raises `DeviceError` when `require_device` is set and they do not.
    """
    if gates.require_device and not on_device:
        raise DeviceError(
            f"gates.require_device=true, but the figures were taken on {facts.measured_on}: "
            f"run this on {facts.device}, or set gates.require_device=false to write the artifact unjudged."
        )
    drop = None if facts.teacher_metric is None else round(facts.teacher_metric - facts.metric, _DIGITS) + 0.0
    noise = rounds.said(facts.doubts)
    ratio = facts.teacher_p50_ms / facts.p50_ms if facts.teacher_p50_ms and facts.p50_ms else None
    size_mb = facts.size_bytes / 1e6
    table: tuple[_Gate, ...] = (
        _Gate("max_metric_drop", gates.max_metric_drop, drop, f"points of {facts.metric_name}", "most", False),
        _Gate("min_metric", gates.min_metric, facts.metric, f"points of {facts.metric_name}", "least", False),
        _Gate("parity", facts.parity_tolerance, facts.parity_max_abs, "largest logit difference", "most", False),
        _Gate("max_size_mb", gates.max_size_mb, size_mb, "MB", "most", False),
        _Gate("max_latency_ms", gates.max_latency_ms, facts.p50_ms, "ms p50", "most", True, noise),
        _Gate("min_speedup", gates.min_speedup, ratio, "times the teacher", "least", True, noise),
        _Gate("max_memory_mb", gates.max_memory_mb, facts.peak_memory_mb, "MiB", "most", True),
    )
    if facts.device_agreement is not None:
        limit, same = gates.min_device_agreement, facts.device_agreement
        unit = "% of the examples answered there as here"
        note = f"answers of {facts.answers_from}" if facts.answers_from else ""
        table += (_Gate("min_device_agreement", limit, same, unit, "least", False, note),)
    return [_verdict(gate, gate.limit, facts, on_device) for gate in table if gate.limit is not None]


def _verdict(gate: _Gate, limit: float, facts: Facts, on_device: bool) -> Verdict:
    if gate.of_device and not on_device:
        note = f"measured on {facts.measured_on}"
        return Verdict(gate.name, limit, gate.value, gate.unit, judged=False, passed=None, note=note)
    if gate.name == "min_speedup" and not facts.teacher_is_here:
        note = "the teacher is not part of the artifact"
        return Verdict(gate.name, limit, None, gate.unit, judged=False, passed=None, note=note)
    if gate.value is None:
        if gate.of_device:
            raise DeviceError(f"gates.{gate.name} is set, but it could not be measured on {facts.device}.")
        return Verdict(gate.name, limit, None, gate.unit, judged=True, passed=False, note="there is no figure")
    passed = gate.value <= limit if gate.side == "most" else gate.value >= limit
    return Verdict(gate.name, limit, gate.value, gate.unit, judged=True, passed=passed, note=gate.note)


def missed(verdicts: Sequence[Verdict]) -> list[Verdict]:
    """The gates that refuse."""
    return [verdict for verdict in verdicts if verdict.passed is False]


def require(verdicts: Sequence[Verdict]) -> None:
    """Raise `GateRefusedError` that names every missed gate; return quietly if there is none."""
    refusing = missed(verdicts)
    if refusing:
        raise GateRefusedError("no artifact was written: " + "; ".join(verdict.sentence() for verdict in refusing))
