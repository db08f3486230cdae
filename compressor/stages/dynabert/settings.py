"""Settings of the stage `dynabert`."""

from __future__ import annotations

import dataclasses
from typing import Literal

from compressor.config.schema import Count, NonNegative, Positive, Ratio, settings
from compressor.config.training import TrainingSettings
from compressor.errors import RequestError


@settings
class DynabertSettings(TrainingSettings):
    """The sizes that the model is to serve, and what each of them learns from."""

    widths: list[Ratio] = dataclasses.field(default_factory=lambda: [1.0, 0.75, 0.5, 0.25])  # of heads and units
    depths: list[Ratio] = dataclasses.field(default_factory=lambda: [1.0])  # of layers; each with every width
    logits: NonNegative = 1.0  # the guide's output distribution
    temperature: Positive = 1.0  # of `logits`
    hidden: NonNegative = 0.1  # MSE of hidden states, embeddings included
    labels: NonNegative = 0.0  # the task's own loss
    importance: Literal["taylor", "fisher", "magnitude", "random"] = "taylor"  # by which heads and units are ordered
    samples: Count = 256  # training examples that importance is measured on

    def __post_init__(self) -> None:
        """Refuse sizes that are none or stand twice, and a stage that would learn from nothing."""
        for name, sizes in (("widths", self.widths), ("depths", self.depths)):
            if not sizes or len(set(sizes)) != len(sizes):
                raise RequestError(f"dynabert: `{name}` = {sizes} must list at least one size, and each once.")
        if not (self.logits or self.hidden or self.labels):
            raise RequestError("dynabert: every loss has the weight 0; set one of logits, hidden, labels.")
