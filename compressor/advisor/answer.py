"""The answer: what is recommended, the Pareto set, what was ruled out and why, what it cost; as JSON and as a page."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from compressor.advisor.earlier import FILE, teacher_id
from compressor.advisor.finals import Final
from compressor.advisor.halving import Point, front
from compressor.advisor.limits import Closest, Limit
from compressor.advisor.prices import Priced, Prices, ruled_out_by
from compressor.advisor.requests import Question, command, said, write_recipe
from compressor.advisor.rounds import Record
from compressor.config.device import without_private
from compressor.devices.rounds import SLOW, STEADY
from compressor.disk import write_text
from compressor.report.entry import Entry, Figure, Origin, State, compared, fits
from compressor.report.page import render
from compressor.report.steadiness import Steadiness

VERSION = 1
"""Of advice.json."""
_FEW = 100
"""Rows below which it is said what one of them weighs."""
_NAMED = 6
"""Candidates that a sentence names."""

Outcome = Literal["recommended", "nothing fits", "priced"]


@dataclass(frozen=True)
class Cost:
    """What the advice trained: passes (updates times forward and backward runs), and those of the whole grid."""

    passes: float
    grid_passes: float
    seconds: float  # that the trainings took when they were made

    @property
    def share(self) -> float:
        """Of the whole grid's training."""
        return self.passes / self.grid_passes if self.grid_passes else 0.0


@dataclass(frozen=True)
class Advice:
    """Everything that was found out."""

    question: Question
    outcome: Outcome
    limits: Sequence[Limit]
    prices: Prices
    record: Record
    cost: Cost
    finals: Sequence[Final] = ()
    recommended: str | None = None
    closest: Closest | None = None
    reason: str = ""  # why nothing fits
    teachers: Mapping[str, float] = field(default_factory=dict)  # metric on the held-out data by name
    metric_name: str = "metric"
    search_rows: int = 0  # that candidates were chosen by
    held_out: str = ""  # fingerprint of the data that full runs are judged on

    def pareto(self) -> list[str]:
        """Names of the fully trained candidates that none beats in both metric and latency, the fastest first.

        All by their prices and the search part of the data, on which each of them was judged alike.
        """
        last = self.record.last()
        points = [
            Point(member.name, "", last[member.name].metric, member.price.p50_ms)
            for member in self.prices.priced
            if member.name in last and last[member.name].share == 1
        ]
        return [point.name for point in front(points)]

    def entries(self) -> list[Entry]:
        """Every candidate for the page: the recommended one first, then by state and latency."""
        request, pareto = self.question.request, self.pareto()
        found = []
        for member in self.prices.priced:
            state, reason = self._state(member)
            final = self._final(member.name)
            speed = _speed(member, final)
            found.append(
                Entry(
                    name=member.name,
                    state=state,
                    task=request.task,
                    data=request.data_name,
                    device=request.device.name,
                    recipe=member.request.recipe.name,
                    metric_name=self.metric_name,
                    figures=self._figures(member),
                    command=without_private(command(self.question, member.candidate)),
                    reason=reason,
                    steadiness=Steadiness.of_speed(speed, machine=self.prices.measured_on),
                    fits_memory=fits(speed),
                    manifest=final.manifest if final else None,
                    pareto=member.name in pareto,
                )
            )
        order = ["recommended", "artifact", "refused", "failed", "stopped", "candidate", "ruled out"]
        told = compared(found)
        return sorted(told, key=lambda entry: (order.index(entry.state), entry.value("p50_ms") or 0.0))

    def sentences(self) -> list[str]:
        """The answer in words."""
        lines = [self._verdict()]
        if self.closest is not None:
            lines.append(f"Nothing fits: {self.closest.said()}.")
        prices = self.prices
        where = f"Latency: p50 of {prices.length} real tokens, measured on {prices.measured_on}."
        if not prices.on_device:
            where += (
                f" None of it is a figure of {self.question.request.device.name}: limits on latency and memory are "
                "held against these to choose by, and judged by nobody."
            )
        lines.append(where)
        noisy = [entry.name for entry in self.entries() if entry.noisy]
        if noisy:
            names = ", ".join([*noisy[:_NAMED], "..."] if len(noisy) > _NAMED else noisy)
            lines.append(
                f"The machine was too noisy for {len(noisy)} of the latencies: rounds differ by more than "
                f"{100 * STEADY:.0f} %, or it was more than {100 * SLOW:.0f} % slower than beside others ({names}). "
                "Prices are kept: another measure.rounds=N measures them anew."
            )
        known = sum(member.price.how == "measured" for member in prices.priced)
        if prices.calibration is not None and known == len(prices.priced):
            lines.append(f"All {known} candidates were measured.")
        elif prices.calibration is not None:
            errors = sorted(prices.calibration.errors)
            middle = 100 * errors[len(errors) // 2] if errors else 0.0
            lines.append(
                f"{known} of {len(prices.priced)} candidates were measured, the others predicted by a cost model "
                f"calibrated on {len(prices.calibration.shapes)} of them (median error {middle:.0f} % when each is "
                f"left out once; figures within {100 * prices.margin:.0f} % of a limit were measured, as far as "
                f"advise.measured = {self.question.settings.measured} allows)."
            )
        if pareto := self.pareto():
            lines.append(
                f"Pareto set of what was trained in full, by latency and by the search part: {', '.join(pareto)}."
            )
        if self.record.judged and self.search_rows < _FEW:
            lines.append(
                f"Candidates were chosen by {self.search_rows} rows of the search part, each of which is "
                f"{100 / self.search_rows:.1f} points: small differences are noise (data.search=N holds more rows out)."
            )
        if self.cost.passes or self.outcome == "recommended":
            lines.append(
                f"Training: {self.cost.passes:,.0f} passes ({self.cost.seconds:,.0f} s), "
                f"{100 * self.cost.share:.0f} % of training the whole grid ({self.cost.grid_passes:,.0f})."
            )
        return lines

    def to_json(self) -> str:
        """The content of advice.json."""
        question, prices = self.question, self.prices
        request = question.request
        model = prices.calibration
        value = {
            "version": VERSION,
            "outcome": self.outcome,
            "answer": self.sentences(),
            "task": request.task,
            "data": request.data_name,
            "held_out": self.held_out,
            "teacher": request.teacher_name,
            "teacher_id": teacher_id(request),
            "device": request.device.name,
            "goal": question.goal,
            "limits": {limit.name: limit.value for limit in self.limits},
            "metric": self.metric_name,
            "teachers": dict(self.teachers),
            "recommended": self.recommended,
            "command": said(without_private(self.command())) if self.recommended else None,
            "closest": None if self.closest is None else {
                "candidate": self.closest.candidate,
                "moves": {move.limit: move.to for move in self.closest.moves},
                "alone": {move.limit: {"to": move.to, "candidate": move.candidate} for move in self.closest.alone},
            },
            "pareto": self.pareto(),
            "measured_on": prices.measured_on,
            "on_device": prices.on_device,
            "length": prices.length,
            "cost": {"passes": self.cost.passes, "grid_passes": self.cost.grid_passes, "seconds": self.cost.seconds,
                     "share": self.cost.share},
            "cost_model": None if model is None else {
                "shapes": list(model.shapes), "left_out_errors": list(model.errors), "margin": prices.margin,
                "p50_prices": model.p50.prices, "memory_prices": model.memory.prices if model.memory else None,
            },
            "candidates": [self._as_json(member) for member in prices.priced],
            "impossible": dict(prices.impossible),
        }  # fmt: skip
        return json.dumps(value, indent=1, ensure_ascii=False) + "\n"

    def write(self) -> None:
        """Put advice.json, report.html and every candidate's recipe into the advice's folder.

        Raises `StorageError` when the disk refuses.
        """
        request = self.question.request
        for member in self.prices.priced:
            write_recipe(self.question, member.candidate)
        page = render(
            self.entries(),
            title=f"Advice: {request.task} on {request.data_name} for {request.device.name}",
            lead=self.sentences(),
            limits={_AXES[limit.name]: limit.value for limit in self.limits},
            problems=[f"{name} is left out: {reason}" for name, reason in self.prices.impossible.items()],
        )
        write_text(self.question.folder / "report.html", page)
        write_text(self.question.folder / FILE, self.to_json())

    def _verdict(self) -> str:
        limits = ", ".join(f"{name} = {value:g}" for name, value in self._asked().items())
        if self.outcome == "nothing fits":
            return f"No candidate meets {limits}: {self.reason}."
        if self.outcome == "priced":
            fitting = [member for member in self.prices.priced if self._state(member)[0] == "candidate"]
            return f"{len(fitting)} of {len(self.prices.priced)} candidates may meet {limits}; none was trained."
        best = self._final(self.recommended or "")
        values = best.values() if best else {}
        metric, p50, size = (values.get(name) for name in ("min_metric", "max_latency_ms", "max_size_mb"))
        figures = [f"{self.metric_name} {metric:.2f}" if metric is not None else "", f"{p50:.2f} ms" if p50 else ""]
        figures.append(f"{size:.1f} MB" if size else "")
        return f"Recommended within {limits}: {self.recommended} ({', '.join(filter(None, figures))})."

    def _asked(self) -> dict[str, float]:
        """What is asked for: the limits, and gates that have none of their figures before a full run."""
        gates = self.question.request.gates
        more = {name: getattr(gates, name) for name in ("max_metric_drop", "min_speedup")}
        asked = {limit.name: limit.value for limit in self.limits}
        return asked | {f"gates.{name}": value for name, value in more.items() if value is not None}

    def command(self) -> list[str]:
        """The words that make what is recommended, with how its device is reached."""
        chosen = next(member for member in self.prices.priced if member.name == self.recommended)
        return command(self.question, chosen.candidate)

    def _final(self, name: str) -> Final | None:
        return next((final for final in self.finals if final.name == name), None)

    def _state(self, member: Priced) -> tuple[State, str]:
        final, shape, record = self._final(member.name), member.candidate.shape.name, self.record
        if member.name == self.recommended:
            return "recommended", ""
        if final is not None:
            if final.manifest is None:
                return "failed", final.reason
            return ("artifact", "") if final.met else ("refused", final.reason)
        wrong = ruled_out_by(member.price, self.limits, self.prices.margin)
        if wrong:
            values, how = member.price.values(), member.price.how
            said = [limit.said(values[limit.name] or 0.0) for limit in wrong]
            like = "" if how == "measured" else ", as smaller ones do not"
            reasons = [
                f"{text}{like}" if limit.of_device else f"{how} {text}" for limit, text in zip(wrong, said, strict=True)
            ]
            return "ruled out", "; ".join(reasons)
        if shape in record.failed:
            return "failed", record.failed[shape]
        if shape in record.stopped:
            return "stopped", record.stopped[shape]
        judged = record.last().get(member.name)
        if judged is None:
            return "candidate", "priced, and not among the shapes that were trained" if record.judged else ""
        best = ", decoded as suits it best," if judged.tuned else ""
        reached = f"{judged.metric:.2f} points on the search part{best} after {judged.share:.2g} of the training"
        return "stopped", f"{reached}; others were run in full first"

    def _figures(self, member: Priced) -> dict[str, Figure]:
        final, judged = self._final(member.name), self.record.last().get(member.name)
        searched = {}
        if judged is not None and judged.share == 1:
            searched = {"search_metric": Figure(judged.metric, "file", "on the search part of the data")}
        if final is not None and final.manifest is not None:
            return {**Entry.from_manifest(final.manifest).figures, **searched}
        price = member.price
        place: Origin = "predicted"
        if price.how == "measured":
            place = "device" if self.prices.on_device else "host"
        where = self.prices.measured_on if price.how == "measured" else f"a cost model of {self.prices.measured_on}"
        figures = {
            "p50_ms": Figure(price.p50_ms, place, where),
            "size_mb": Figure(price.size_mb, "file" if price.how == "measured" else "predicted", "model.onnx"),
            "gmacs": Figure(member.macs / 1e9, "file", "counted from the shape"),
        }
        if price.memory_mb is not None:
            figures["peak_memory_mb"] = Figure(price.memory_mb, place, where)
        return figures | searched

    def _as_json(self, member: Priced) -> dict[str, Any]:
        state, reason = self._state(member)
        price, final = member.price, self._final(member.name)
        return {
            "name": member.name,
            "state": state,
            "reason": reason,
            "shape": member.candidate.shape.name,
            "number_format": member.candidate.number_format,
            "keep": member.candidate.keep,
            "macs": member.macs,
            "price": {"p50_ms": price.p50_ms, "peak_memory_mb": price.memory_mb, "size_mb": price.size_mb,
                      "how": price.how},
            "judged": {f"{one.share:g}": one.metric for one in self.record.judged if one.name == member.name},
            "final": dict(final.values()) if final else None,
            "command": said(without_private(command(self.question, member.candidate))),
        }  # fmt: skip


def _speed(member: Priced, final: Final | None) -> Mapping[str, Any]:
    """The `Speed` mapping of the figures that are shown; empty where they are predicted."""
    if final is not None and final.manifest is not None:
        return final.manifest.speed.get("artifact", {})
    return member.price.speed or {}


_AXES = {
    "min_metric": "metric",
    "max_latency_ms": "p50_ms",
    "max_memory_mb": "peak_memory_mb",
    "max_size_mb": "size_mb",
}
"""The page's name of what each limit is held against."""
