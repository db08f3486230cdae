"""Settings of the stage `distill`."""

from __future__ import annotations

from typing import Any, Literal

from compressor.config.schema import Count, NonNegative, Positive, parse, settings
from compressor.config.training import TrainingSettings
from compressor.errors import RequestError

LOSSES = ("labels", "logits", "hidden", "cosine", "attention", "minilm", "relations")


@settings
class StudentSettings:
    """The shape of a new student with random weights; None: as the teacher's."""

    layers: Count | None = None
    hidden_size: Count | None = None
    heads: Count | None = None
    intermediate_size: Count | None = None


@settings
class DistillSettings(TrainingSettings):
    """What the student learns from: a weight for each loss (0 switches it off and saves its cost)."""

    student: Literal["previous"] | dict[str, Any] = "previous"  # the stage before gave it, or new: `StudentSettings`

    labels: NonNegative = 0.0  # the task's own loss
    logits: NonNegative = 1.0  # the teacher's output distribution, softened (Hinton et al. 2015), or MSE of its number
    temperature: Positive = 2.0  # of `logits`, where they are a distribution
    hidden: NonNegative = 0.0  # MSE of hidden states, embeddings included (TinyBERT)
    cosine: NonNegative = 0.0  # cosine distance of the last hidden states (DistilBERT)
    attention: NonNegative = 0.0  # MSE of attention scores before the softmax (TinyBERT)
    minilm: NonNegative = 0.0  # attention distributions and value relations (MiniLM)
    relations: NonNegative = 0.0  # query, key and value relations (MiniLMv2)

    layer_map: Literal["auto", "uniform", "last"] | list[Count] = "auto"  # `hidden`, `attention`: teacher layer of each
    teacher_layer: Literal["last"] | Count = "last"  # `minilm`, `relations`: counted from 1
    relation_heads: Count | None = None  # `relations`; None: the teacher's number of attention heads

    def __post_init__(self) -> None:
        """Refuse a stage that would learn from nothing, and a student that cannot be read."""
        self.new_student()
        if not any(self.weights().values()):
            raise RequestError(f"distill: every loss has the weight 0; set one of {', '.join(LOSSES)}.")

    def new_student(self) -> StudentSettings | None:
        """The shape of a new student, or None for the checkpoint of the stage before."""
        return None if isinstance(self.student, str) else parse(StudentSettings, self.student, where="distill: student")

    def weights(self) -> dict[str, float]:
        """Weight of each loss by its name."""
        return {name: getattr(self, name) for name in LOSSES}
