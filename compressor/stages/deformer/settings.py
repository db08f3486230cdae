"""Settings of the stage `deformer`."""

from __future__ import annotations

from compressor.config.schema import Count, NonNegative, Positive, settings
from compressor.config.training import TrainingSettings
from compressor.errors import RequestError
from compressor.stages.distill.settings import DistillSettings


@settings
class DeformerSettings(TrainingSettings):
    """How many layers keep two texts apart, and what the model learns from."""

    epochs: Positive = 2.0
    learning_rate: Positive = 3e-5
    layers: Count | None = None  # from the bottom; None: three quarters of them (9 of 12)
    second_position: Count | None = None  # where the second text's positions begin; None: an eighth of all positions
    labels: NonNegative = 1.0  # weight of the task's own loss
    logits: NonNegative = 1.0  # of the teacher's output distribution
    hidden: NonNegative = 1.0  # of the teacher's hidden states in the layers that see both texts
    temperature: Positive = 1.0  # of `logits`

    def __post_init__(self) -> None:
        """Refuse a training that learns from nothing."""
        if not self.labels + self.logits + self.hidden:
            raise RequestError("deformer: every loss has the weight 0; set one of labels, logits, hidden.")

    def losses(self) -> DistillSettings:
        """The same as losses of a distillation."""
        return DistillSettings(labels=self.labels, logits=self.logits, hidden=self.hidden, temperature=self.temperature)
