"""A student and its teacher, ready to train: for `distill` itself and for stages that learn from the teacher too."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import nn

from compressor.models import checkpoint as checkpoints
from compressor.stages.context import StageContext
from compressor.stages.distill.matching import Matching, match
from compressor.stages.distill.objective import Distillation
from compressor.stages.distill.parts import Shape
from compressor.stages.distill.pupil import Pupil
from compressor.stages.distill.settings import DistillSettings
from compressor.stages.teacher import load_teacher
from compressor.training import training_device

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def lesson(
    student: nn.Module,
    settings: DistillSettings,
    context: StageContext,
    *,
    hidden_layers: Collection[int] | None = None,
    tokenizer: PreTrainedTokenizerBase | None = None,
) -> tuple[Pupil, Distillation]:
    """The student with what it needs while it learns, and the objective that compares it with the teacher.

    Args:
        student: A task model.
        settings: The losses and their weights.
        context: Where the teacher is.
        hidden_layers: Of the student, counted from 1, that `hidden` compares; None: all, and the embeddings.
        tokenizer: The student's; None: the teacher's. Of a pruned one the teacher reads the pieces by its own ids.

    Raises:
        RequestError: Settings that these two models cannot meet, or different vocabularies.
        CheckpointError: The teacher has no head for the task and `logits` needs one.
    """
    reads = tokenizer or checkpoints.load_tokenizer(context.teacher.path)
    teacher = load_teacher(context, reads, new_head=settings.logits == 0)
    pupil, matching = prepare(student, settings, _shape_of(teacher), context.seed, hidden_layers=hidden_layers)
    return pupil, Distillation(teacher.to(training_device()), context.task, matching, settings.temperature)


def prepare(
    student: nn.Module,
    settings: DistillSettings,
    other: Shape,
    seed: int,
    *,
    hidden_layers: Collection[int] | None = None,
) -> tuple[Pupil, Matching]:
    """The student with what it needs while it learns, and its partners in a teacher of the shape `other`.

    Raises `RequestError` for settings that these two models cannot meet.
    """
    own = _shape_of(student)
    matching = match(settings, own, other)
    if hidden_layers is not None:
        matching = replace(matching, hidden_pairs=[pair for pair in matching.pairs if pair[0] in hidden_layers])
    return Pupil(student, _projections(matching, own, other, seed)), matching


def _shape_of(model: nn.Module) -> Shape:
    return Shape.of(checkpoints.config_to_save(model))


def _projections(matching: Matching, student: Shape, teacher: Shape, seed: int) -> dict[int, nn.Linear]:
    """One learned map a compared layer, where the widths differ (TinyBERT, eq. 8)."""
    if "hidden" not in matching.weights or student.hidden_size == teacher.hidden_size:
        return {}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return {own: nn.Linear(student.hidden_size, teacher.hidden_size) for own, _ in matching.hidden_pairs}
