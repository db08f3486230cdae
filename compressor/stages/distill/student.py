"""The student of a distillation: the checkpoint that came in, or a new one of another shape."""

from __future__ import annotations

from typing import Any

from torch import nn
from transformers import PreTrainedTokenizerBase

from compressor.errors import RequestError
from compressor.models import checkpoint as checkpoints
from compressor.models.families import Family, base_model_type, family_of
from compressor.stages.context import Checkpoint, StageContext
from compressor.stages.distill.settings import StudentSettings


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


def student_config(teacher: dict[str, Any], settings: StudentSettings) -> dict[str, Any]:
    """The teacher's `config.json` in another shape, without its structural changes.

    Raises `RequestError` where the width is no multiple of the heads.
    """
    family = family_of(teacher)
    config = {key: value for key, value in teacher.items() if key != "compressor"}
    config["model_type"] = base_model_type(teacher)
    config.update({key: value for key, value in _by_config_key(family, settings).items() if value is not None})
    width, heads = family.hidden_size(config), family.head_count(config)
    if width % heads:
        raise RequestError(f"distill: student.hidden_size {width} is not a multiple of student.heads {heads}.")
    return config


def _by_config_key(family: Family, settings: StudentSettings) -> dict[str, int | None]:
    return {
        family.layers_key: settings.layers,
        family.hidden_key: settings.hidden_size,
        family.heads_key: settings.heads,
        family.intermediate_key: settings.intermediate_size,
    }
