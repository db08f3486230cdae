"""The student of a distillation: the checkpoint that came in, or a new one of another shape."""

from __future__ import annotations

from torch import nn
from transformers import PreTrainedTokenizerBase

from compressor.errors import RequestError
from compressor.models import checkpoint as checkpoints
from compressor.stages.context import Checkpoint, StageContext
from compressor.stages.distill.settings import StudentSettings
from compressor.stages.distill.shape import student_config


def load_student(checkpoint: Checkpoint, context: StageContext) -> tuple[nn.Module, PreTrainedTokenizerBase]:
    """The checkpoint that came in; raises `RequestError` if its vocabulary is not the teacher's."""
    tokenizer = checkpoints.load_tokenizer(checkpoint.path)
    teacher = checkpoints.load_tokenizer(context.teacher.path)
    if tokenizer.get_vocab() != teacher.get_vocab():
        raise RequestError(
            f"distill: student {checkpoint.path} ({len(tokenizer)} word pieces) and teacher {context.teacher.path} "
            f"({len(teacher)}) have different vocabularies: take a student made from this teacher."
        )
    return checkpoints.load(checkpoint.path, context.task, new_head=True, seed=context.seed), tokenizer


def new_student(settings: StudentSettings, context: StageContext) -> tuple[nn.Module, PreTrainedTokenizerBase]:
    """A student with random weights drawn from the seed, of the teacher's family and with its tokenizer."""
    tokenizer = checkpoints.load_tokenizer(context.teacher.path)
    config = student_config(checkpoints.read_config(context.teacher.path), settings)
    return checkpoints.build(config, context.task, where="distill: student", seed=context.seed), tokenizer
