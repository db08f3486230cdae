"""Distillation from answers that were read once, by one teacher or several, instead of a teacher that runs along."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, cast

import numpy as np
import torch
from torch import Tensor, nn

from compressor.models import checkpoint as checkpoints
from compressor.models.locate import locate
from compressor.stages.context import Checkpoint, StageContext
from compressor.stages.distill.answers import Answers, answers
from compressor.stages.distill.ensemble import together
from compressor.stages.distill.matching import Matching
from compressor.stages.distill.objective import Distillation, Lesson
from compressor.stages.distill.pupil import Pupil
from compressor.stages.distill.settings import DistillSettings
from compressor.tasks.base import Feature, Task
from compressor.tasks.examples import Example

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

ROW = "row"
"""Name of the input that says which training row a row of a batch is: int64 [batch, length], the number in front."""


class KeptDistillation(Distillation):
    """The losses of `logits` and `labels`, with the teachers' answers by the number of the row."""

    def __init__(self, teachers: Sequence[Answers], task: Task, matching: Matching, temperature: float) -> None:
        super().__init__(nn.Module(), task, matching, temperature)  # no teacher runs along
        self.answers = tuple(teachers)

    def __call__(
        self, model: nn.Module, inputs: Mapping[str, Tensor], labels: Mapping[str, Tensor], step: int
    ) -> Iterator[Tensor]:
        """Yield the weighted sum of the chosen losses of a batch."""
        rows = inputs[ROW][:, 0].tolist()
        own = {name: value for name, value in inputs.items() if name != ROW}
        outputs = {name: self._batch(name, rows, own["attention_mask"]) for name in self.task.output_names}
        yield self.loss(cast(Pupil, model), own, labels, Lesson(outputs, {}))

    def _batch(self, name: str, rows: Sequence[int], mask: Tensor) -> Tensor:
        """One output of the teachers together, padded with zeros."""
        found = [together(self.task, [teacher.row(row)[name] for teacher in self.answers]) for row in rows]
        if self.task.restores_tokens:
            length = mask.shape[1]
            found = [np.pad(one, [(0, length - len(one)), *[(0, 0)] * (one.ndim - 1)]) for one in found]
        return torch.from_numpy(np.stack(found).astype(np.float32)).to(mask.device)


def numbered(features: Sequence[Feature]) -> list[Feature]:
    """Features that carry their number as an input."""
    return [
        dataclasses.replace(feature, inputs={**feature.inputs, ROW: [number]})
        for number, feature in enumerate(features)
    ]


def worth_keeping(settings: DistillSettings, rows: int) -> bool:
    """Whether outputs are all that is read of the teacher, and the training sees every row at least once."""
    if not settings.reads_answers_alone:
        return False
    limit = settings.max_steps and settings.max_steps * settings.batch_size * settings.gradient_accumulation
    return settings.epochs >= 1 and (limit is None or limit >= rows)


def all_answers(
    settings: DistillSettings,
    examples: Sequence[Example],
    features: Sequence[Feature],
    tokenizer: PreTrainedTokenizerBase,
    context: StageContext,
) -> list[Answers]:
    """The answers of the run's teacher and of `settings.teachers`, to every row of the student's `features`.

    A teacher that is asked about whole texts reads them by its own tokenizer; one that is asked about tokens reads
    the student's pieces, so that the places correspond.

    Raises:
        RequestError: A teacher that does not know a piece of the student's.
        CheckpointError: A teacher that cannot be loaded for the task, or was trained for other labels.
    """
    teachers = [context.teacher, *(Checkpoint(locate(path), path) for path in settings.teachers)]
    for teacher in teachers:  # before any of them is asked
        checkpoints.require_head(teacher.path, context.task)
    found = []
    for teacher in teachers:
        reads, rows = tokenizer, features
        if not context.task.restores_tokens:
            own = checkpoints.load_tokenizer(teacher.path)
            if own.get_vocab() != tokenizer.get_vocab() or own.model_input_names != tokenizer.model_input_names:
                reads, rows = own, context.task.features(examples, own, labelled=False)
        found.append(answers(teacher, rows, reads, settings, context))
    return found
