"""The objective of distillation: one forward pass of teacher and student, the weighted sum of the chosen losses."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from compressor.stages.distill import losses
from compressor.stages.distill.internals import observe
from compressor.stages.distill.matching import Matching
from compressor.stages.distill.parts import Part
from compressor.stages.distill.pupil import Pupil
from compressor.tasks.base import Task


@dataclass(frozen=True)
class Lesson:
    """What a teacher gives for one batch: its outputs by name, and the parts inside it that a loss reads."""

    outputs: dict[str, Tensor]
    parts: dict[Part, Tensor]


@dataclass(frozen=True)
class _Batch:
    """What the losses see of one batch."""

    pupil: Pupil
    mask: Tensor
    labels: Mapping[str, Tensor]
    student: dict[Part, Tensor]
    teacher: dict[Part, Tensor]
    student_outputs: dict[str, Tensor]
    teacher_outputs: dict[str, Tensor]

    def hidden(self, own: int, other: int) -> tuple[Tensor, Tensor]:
        """Hidden states of a student and a teacher layer, [batch, length, hidden] each."""
        return self.student[Part("hidden", own)], self.teacher[Part("hidden", other)]

    def attention(self, own: int, other: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Queries and keys of a student layer, then of a teacher layer."""
        student = self.student[Part("query", own)], self.student[Part("key", own)]
        return *student, self.teacher[Part("query", other)], self.teacher[Part("key", other)]


class Distillation:
    """The chosen losses; call it as an objective of `training.train` with a `Pupil` as the model.

    The teacher runs without gradients, under the same autocast. Only the parts that a loss reads are kept, and no
    layer above the last one read is run unless the outputs are needed.
    """

    def __init__(self, teacher: nn.Module, task: Task, matching: Matching, temperature: float) -> None:
        self.teacher = teacher
        self.task = task
        self.matching = matching
        self.temperature = temperature
        parts = matching.parts()
        self._student_parts = {own for own, _ in parts}
        self._teacher_parts = {other for _, other in parts}
        self._terms: dict[str, Callable[[_Batch], Tensor]] = {
            "labels": self._labels,
            "logits": self._logits,
            "hidden": self._hidden,
            "cosine": self._cosine,
            "attention": self._attention,
            "minilm": self._minilm,
            "relations": self._relations,
        }

    def __call__(
        self, model: nn.Module, inputs: Mapping[str, Tensor], labels: Mapping[str, Tensor], step: int
    ) -> Iterator[Tensor]:
        """Yield the weighted sum of the chosen losses of a batch."""
        yield self.loss(cast(Pupil, model), inputs, labels, self.lesson(inputs))

    def lesson(self, inputs: Mapping[str, Tensor]) -> Lesson:
        """What the teacher gives for a batch; several students can learn from it."""
        with torch.no_grad():
            return Lesson(
                *observe(self.teacher, inputs, self._teacher_parts, outputs="logits" in self.matching.weights)
            )

    def loss(self, pupil: Pupil, inputs: Mapping[str, Tensor], labels: Mapping[str, Tensor], lesson: Lesson) -> Tensor:
        """The weighted sum of the chosen losses of a batch, a float32 scalar."""
        weights = self.matching.weights
        outputs, parts = observe(
            pupil.student, inputs, self._student_parts, outputs="logits" in weights or "labels" in weights
        )
        batch = _Batch(pupil, inputs["attention_mask"], labels, parts, lesson.parts, outputs, lesson.outputs)
        return torch.stack([weight * self._terms[name](batch) for name, weight in weights.items()]).sum()

    def _labels(self, batch: _Batch) -> Tensor:
        return self.task.loss(batch.student_outputs, batch.labels)

    def _logits(self, batch: _Batch) -> Tensor:
        pairs = [(batch.student_outputs[name], batch.teacher_outputs[name]) for name in self.task.output_names]
        if self.task.name == "question-answering":
            return torch.stack([losses.span_logits(*pair, batch.mask, self.temperature) for pair in pairs]).mean()
        if self.task.name == "token-classification":
            return losses.token_logits(*pairs[0], batch.mask, self.temperature)
        if self.task.name == "text-regression":
            return losses.numbers(*pairs[0])
        if self.task.multi_label:
            return losses.label_logits(*pairs[0], self.temperature)
        return losses.class_logits(*pairs[0], self.temperature)

    def _hidden(self, batch: _Batch) -> Tensor:
        terms = []
        for own, other in self.matching.hidden_pairs:
            student, teacher = batch.hidden(own, other)
            terms.append(losses.hidden_states(batch.pupil.to_teacher_width(own, student), teacher, batch.mask))
        return torch.stack(terms).sum()

    def _cosine(self, batch: _Batch) -> Tensor:
        return losses.cosine(*batch.hidden(*self.matching.last), batch.mask)

    def _attention(self, batch: _Batch) -> Tensor:
        return torch.stack(
            [
                losses.attention_scores(*batch.attention(*pair), batch.mask, self.matching.heads[pair[1] - 1])
                for pair in self.matching.pairs
            ]
        ).sum()

    def _minilm(self, batch: _Batch) -> Tensor:
        own, other = self.matching.source
        values = batch.student[Part("value", own)], batch.teacher[Part("value", other)]
        heads = self.matching.heads[other - 1]
        attention = losses.attention_distributions(*batch.attention(own, other), batch.mask, heads)
        return attention + losses.relation(*values, batch.mask, heads)

    def _relations(self, batch: _Batch) -> Tensor:
        own, other = self.matching.source
        heads = self.matching.relation_heads
        return torch.stack(
            [
                losses.relation(batch.student[Part(kind, own)], batch.teacher[Part(kind, other)], batch.mask, heads)
                for kind in ("query", "key", "value")
            ]
        ).sum()
