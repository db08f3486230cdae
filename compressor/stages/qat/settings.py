"""Settings of the stage `qat`."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any, Literal

from pydantic import Field

from compressor.config.schema import Count, Positive, settings
from compressor.config.training import TrainingSettings
from compressor.stages.distill.settings import DistillSettings, losses_beside


@settings
class QatSettings(TrainingSettings):
    """Where the ranges of activations start, how fast they move, and what the model learns from."""

    epochs: Positive = 2.0
    learning_rate: Positive = 2e-5
    weight_bits: Literal[7, 8] = 8  # 7 for x86 processors without VNNI, as `device.reduce_range` says
    dropout: bool = False  # drop units as fine-tuning does: far more noise than the rounding that is to be learned
    smooth: bool = True  # bring loud channels of activations down before they are rounded, as `quantize` does
    samples: Count = 64  # calibration examples that the ranges start from
    percentile: Annotated[float, Field(gt=50, le=100)] = 99.99  # of each example's activations, from both ends
    range_learning_rate: Positive = 1e-3  # of the ranges' ends, in activations' own units
    distill: dict[str, Any] | None = dataclasses.field(
        default_factory=dict
    )  # learn from the teacher: losses as in `distill`, by default its answers; None: from the labels

    def __post_init__(self) -> None:
        """Refuse losses that cannot be read."""
        self.losses()

    def losses(self) -> DistillSettings | None:
        """What is learned from the teacher, or None for the task's own loss."""
        return None if self.distill is None else losses_beside(self.distill, where="qat: distill")
