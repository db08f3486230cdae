"""Settings of the stage `length_adaptive`."""

from __future__ import annotations

from typing import Literal

from compressor.config.schema import Count, NonNegative, Positive, Probability, Whole, settings
from compressor.config.training import TrainingSettings
from compressor.models.structure import Significance

RANKING = 0.1
"""Weight of the ranking loss unless one is given, for question answering with `significance: first`."""


@settings
class LengthAdaptiveSettings(TrainingSettings):
    """LengthDrop training with the sandwich rule and inplace distillation (Kim & Cho 2020)."""

    epochs: Positive = 5.0
    learning_rate: Positive = 3e-5
    length_drop: Probability | list[Probability] = (
        0.2  # p: a layer keeps ceil((1 - p) * tokens) or more; or one a layer
    )
    layer_drop: Probability = 0.2  # probability of skipping a layer in a randomly drawn pass
    layer_drop_full: bool = False  # skip layers in the full-length pass too, as the official code does
    sandwich: Whole = 2  # n_s: randomly drawn passes an update, beside the full and the smallest one
    minimum: Count = 2  # tokens that are never dropped below
    significance: Significance = "all"  # attention of which tokens ranks the others; first: [CLS], cheaper
    guide: Literal["inplace", "teacher"] = "inplace"  # what sub-models follow: the full pass, or the frozen teacher
    ranking: NonNegative | None = None  # weight of a loss that lets the first token rank answers high; None: RANKING
    kl_direction: Literal["reverse", "forward"] = (
        "reverse"  # reverse: KL(sub || full) as the official code; forward: KL(full || sub)
    )
