"""What an advice is asked for: the grid, how candidates are priced and how much they are trained. Light."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any, Literal

from pydantic import Field

from compressor.config.device import NumberFormat
from compressor.config.schema import Count, NonNegative, Probability, Ratio, settings

LIMITS = ("min_metric", "max_latency_ms", "max_memory_mb", "max_size_mb")
"""What the command line takes as limits; each is a gate of the same name."""
CALIBRATION = 12
"""Shapes that a cost model is calibrated on, at most."""


@settings
class WidthSettings:
    """How much of a layer's inside stays, as `prune_widths` takes it."""

    heads: Ratio = 1.0  # of the attention heads
    feed_forward: Ratio = 1.0  # of the inner units of the feed-forward block


def _distill() -> dict[str, Any]:
    return {
        "logits": 1.0,
        "temperature": 1.0,
        "hidden": 1.0,
        "epochs": 4.0,
        "learning_rate": 1e-4,
        "batch_size": 32,
    }


def _length_adaptive() -> dict[str, Any]:
    return {"epochs": 2.0, "learning_rate": 5e-5, "batch_size": 32, "sandwich": 1}


@settings
class GridSettings:
    """The candidates: every combination of these, for every teacher."""

    teachers: list[str] = dataclasses.field(default_factory=list)  # further ones, beside `teacher.path`
    layers: list[Ratio] = dataclasses.field(default_factory=lambda: [1.0, 0.67, 0.5, 0.34])  # of the teacher's, kept
    widths: list[Ratio | WidthSettings] = dataclasses.field(default_factory=lambda: [1.0, 0.5, 0.25])
    keep: list[Ratio] = dataclasses.field(default_factory=lambda: [1.0, 0.9, 0.8])  # 1: fixed length
    formats: list[NumberFormat] | Literal["auto"] = "auto"  # auto: float32, and the one that the device is fast at


@settings
class AdviseSettings:
    """Everything under `advise.` on the command line."""

    grid: GridSettings = dataclasses.field(default_factory=GridSettings)
    distill: dict[str, Any] = dataclasses.field(default_factory=_distill)  # settings of the stage, at the full budget
    length_adaptive: dict[str, Any] = dataclasses.field(default_factory=_length_adaptive)  # the same of this one

    calibration: Annotated[int, Field(ge=6, le=CALIBRATION)] = CALIBRATION  # shapes; a smaller grid is measured whole
    margin: Probability = 0.2  # share of a predicted figure within which a candidate is measured
    measured: Count = 12  # candidates near a limit that are measured beside those, at most

    prefer: Literal["auto", "metric", "latency"] = "auto"  # auto: the fastest that reaches min_metric, else the best
    train: bool = True  # false: prices alone
    trials: Count | None = 16  # shapes that training begins with, at most; None: all that may fit
    eta: Annotated[int, Field(ge=2, le=16)] = 4  # from round to round this many times the budget, for one in as many
    rounds: Annotated[int, Field(ge=1, le=6)] = 3  # rounds of training; the last one has the full budget
    budget: Ratio = 0.25  # of the whole grid's training: when it is spent no further shape is trained in full
    finalists: Count = 3  # full runs with the limits as gates, at most
    tolerance: NonNegative = 0.3  # points below the best metric that count as good as it, if they are faster
    above_teacher: NonNegative = 1.0  # points that a student may be above its teacher, for a min_metric that is

    def __post_init__(self) -> None:
        """Give what the command line sets of a stage the defaults of what it leaves open."""
        for name, defaults in (("distill", _distill()), ("length_adaptive", _length_adaptive())):
            object.__setattr__(self, name, {**defaults, **getattr(self, name)})
