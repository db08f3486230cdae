"""Settings of the stage `power_bert`."""

from __future__ import annotations

from compressor.config.schema import Count, NonNegative, Positive, settings
from compressor.config.training import TrainingSettings


@settings
class PowerBertSettings(TrainingSettings):
    """How the configuration is searched for; `epochs` and `max_steps` are of the training at it, and of the search."""

    epochs: Positive = 3.0
    search_epochs: Positive = 2.0  # in which the retention is learned, beside the weights
    learning_rate: Positive = 3e-5
    retention_learning_rate: Positive = 3e-3
    price: NonNegative = 3e-4  # of a token kept by the first layer; layer j's costs j times as much
    ranks: Count | None = None  # places of significance with a retention of their own; None: the longest input's tokens
    minimum: Count | None = None  # tokens that are never dropped below; None: as a length-adaptive model has it, or 2
