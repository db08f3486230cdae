"""Settings of the stage `distill`."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

from compressor.config.schema import Count, NonNegative, Positive, Probability, parse, settings
from compressor.config.training import TrainingSettings
from compressor.errors import RequestError

LOSSES = ("labels", "logits", "hidden", "cosine", "attention", "minilm", "relations")


@settings
class StudentSettings:
    """The shape of a new student with random weights; None: as the teacher's.

    A bilstm (Tang et al. 2019) or a cnn (Kim 2014) keeps the teacher's word pieces and heads and has no transformer
    layers: unset, it has one layer of hidden size 300 on embeddings of the same width.
    """

    kind: Literal["transformer", "bilstm", "cnn"] = "transformer"
    layers: Count | None = None
    hidden_size: Count | None = None
    heads: Count | None = None  # transformer
    intermediate_size: Count | None = None  # transformer
    embedding_size: Count | None = None  # bilstm, cnn; None: the hidden size
    windows: list[Count] | None = None  # cnn: tokens that the filters see; None: 3, 4 and 5
    embeddings: Literal["auto", "random", "previous"] = "auto"  # start; previous: the stage before's, by SVD

    def __post_init__(self) -> None:
        """Refuse what this kind of student does not have."""
        owners = {
            "heads": ("transformer",),
            "intermediate_size": ("transformer",),
            "embedding_size": ("bilstm", "cnn"),
            "windows": ("cnn",),
        }
        for key, kinds in owners.items():
            if getattr(self, key) is not None and self.kind not in kinds:
                raise RequestError(f"distill: a {self.kind} student has no {key}: it belongs to {' and '.join(kinds)}.")
        if self.windows == []:
            raise RequestError("distill: student.windows lists no window: give at least one.")

    @property
    def starts_from_embeddings(self) -> bool:
        """Whether the word embeddings start from those of the stage before; auto: where there are no layers."""
        return self.embeddings == "previous" or (self.embeddings == "auto" and self.kind != "transformer")


@settings
class AugmentSettings:
    """Changed copies of the texts (Tang et al. 2019)."""

    copies: Count = 10  # of each example
    mask: Probability = 0.1  # share of words that become the mask token
    replace: Probability = 0.1  # share of words that become other words of the data
    ngram: Probability = 0.25  # share of copies that are cut to an n-gram (of questions none)
    longest_ngram: Count = 5  # words

    def __post_init__(self) -> None:
        """Refuse shares that leave no room for each other."""
        if self.mask + self.replace > 1:
            raise RequestError(
                "distill: augment.mask and augment.replace are shares of the same words: at most 1 in all."
            )


@settings
class DistillSettings(TrainingSettings):
    """What the student learns from: a weight for each loss (0 switches it off and saves its cost)."""

    student: Literal["previous"] | dict[str, Any] = "previous"  # the stage before gave it, or new: `StudentSettings`

    teachers: list[str] = dataclasses.field(default_factory=list)  # further ones: the mean of all their probabilities
    unlabelled: str | None = None  # path of a file with further texts, one a line, a tab between those of a pair
    augment: dict[str, Any] | None = None  # changed copies of the texts: `AugmentSettings`

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
        self.augmentation()
        if (self.unlabelled or self.augment is not None) and (self.labels or not self.logits):
            raise RequestError(
                "distill: unlabelled and augment add texts without labels: learn from logits, labels: 0."
            )
        if self.teachers and not self.reads_answers_alone:
            raise RequestError(
                "distill: several teachers agree on answers, not on what happens inside of them: learn from logits and "
                "labels alone, or leave `teachers` out."
            )
        if not any(self.weights().values()):
            raise RequestError(f"distill: every loss has the weight 0; set one of {', '.join(LOSSES)}.")
        self.refuse_unread()

    def refuse_unread(self) -> None:
        """Refuse settings of losses that are switched off."""
        readers = {
            "layer_map": ("auto", ("hidden", "attention")),
            "teacher_layer": ("last", ("minilm", "relations")),
            "relation_heads": (None, ("relations",)),
        }
        for name, (default, losses) in readers.items():
            if getattr(self, name) != default and not any(getattr(self, loss) for loss in losses):
                raise RequestError(
                    f"distill: {name} would have no effect: {' and '.join(losses)}, which read it, have the weight 0."
                )

    def new_student(self) -> StudentSettings | None:
        """The shape of a new student, or None for the checkpoint of the stage before."""
        return None if isinstance(self.student, str) else parse(StudentSettings, self.student, where="distill: student")

    def augmentation(self) -> AugmentSettings | None:
        """How texts are changed, or None for the data as it is."""
        if self.augment is None:
            return None
        return parse(AugmentSettings, self.augment, where="distill: augment")

    @property
    def reads_answers_alone(self) -> bool:
        """Whether nothing is read of the teacher but its outputs."""
        used = {name for name, weight in self.weights().items() if weight}
        return "logits" in used and used <= {"labels", "logits"}

    def files(self) -> list[str]:
        """Files that the result depends on."""
        return [self.unlabelled] if self.unlabelled else []

    def checkpoints(self) -> list[str]:
        """Checkpoints that the result depends on, beside the run's own."""
        return list(self.teachers)

    def weights(self) -> dict[str, float]:
        """Weight of each loss by its name."""
        return {name: getattr(self, name) for name in LOSSES}


def losses_beside(values: Mapping[str, Any], *, where: str) -> DistillSettings:
    """The losses of a stage that learns from the teacher beside its own work; a mapping of what `distill` can be told.

    Raises:
        RequestError: A key that is not one of the losses' own: student, data and training are the stage's.
    """
    own = {
        "student",
        "teachers",
        "unlabelled",
        "augment",
        *(field.name for field in dataclasses.fields(TrainingSettings)),
    }
    for key in values:
        if key in own:
            raise RequestError(f"{where}: '{key}' belongs to the stage itself: set it there.")
    return parse(DistillSettings, values, where=where)
