"""Distil the teacher into a student: any weighted mix of the losses in `losses`.

Hinton et al. 2015 (logits), TinyBERT (Jiao et al. 2020: hidden states, attention scores), DistilBERT (Sanh et al.
2019: cosine), MiniLM (Wang et al. 2020), MiniLMv2 (Wang et al. 2021).
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import nn

from compressor.models import checkpoint as checkpoints
from compressor.stages.context import Checkpoint, StageContext
from compressor.stages.distill.matching import Matching, match
from compressor.stages.distill.objective import Distillation
from compressor.stages.distill.parts import Shape
from compressor.stages.distill.pupil import Pupil
from compressor.stages.distill.settings import DistillSettings
from compressor.stages.distill.student import load_student, new_student
from compressor.training import train, training_device


def run(checkpoint: Checkpoint, settings: DistillSettings, context: StageContext) -> Checkpoint:
    """Teach the student on `context.data.train` and write it to `context.output`, without its projections.

    Raises:
        RequestError: Settings that these two models cannot meet, or different vocabularies.
        CheckpointError: The teacher has no head for the task and `logits` needs one.
    """
    shape = settings.new_student()
    student, tokenizer = new_student(shape, context) if shape else load_student(checkpoint, context)
    teacher: nn.Module = checkpoints.load(context.teacher.path, context.task, new_head=settings.logits == 0)
    teacher.requires_grad_(False)
    own, other = _shape_of(student), _shape_of(teacher)
    matching = match(settings, own, other)
    pupil = Pupil(student, _projections(matching, own, other, context.seed))
    objective = Distillation(teacher.to(training_device()), context.task, matching, settings.temperature)
    features = context.task.features(context.data.train, tokenizer, labelled=True)
    train(pupil, features, context.task, settings, objective, context, tokenizer, title="distill")
    checkpoints.save(student, tokenizer, context.output)
    return Checkpoint(context.output, checkpoint.key)


def _shape_of(model: nn.Module) -> Shape:
    return Shape.of(cast(Any, model).config.to_dict())


def _projections(matching: Matching, student: Shape, teacher: Shape, seed: int) -> dict[int, nn.Linear]:
    """One learned map a compared layer, where the widths differ (TinyBERT, eq. 8)."""
    if "hidden" not in matching.weights or student.hidden_size == teacher.hidden_size:
        return {}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return {own: nn.Linear(student.hidden_size, teacher.hidden_size) for own, _ in matching.hidden_pairs}
