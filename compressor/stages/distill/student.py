"""The student of a distillation: the checkpoint that came in, or a new one of another shape."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn

from compressor.errors import RequestError
from compressor.models import checkpoint as checkpoints
from compressor.models.families import family_of, family_of_model
from compressor.models.weights import read_weights
from compressor.stages.context import Checkpoint, StageContext
from compressor.stages.distill.settings import StudentSettings
from compressor.stages.distill.shape import student_config

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def load_student(checkpoint: Checkpoint, context: StageContext) -> tuple[nn.Module, PreTrainedTokenizerBase]:
    """The checkpoint that came in, with its tokenizer; a head that it lacks is drawn from the seed."""
    student = checkpoints.load(checkpoint.path, context.task, new_head=True, seed=context.seed)
    return student, checkpoints.load_tokenizer(checkpoint.path)


def new_student(
    settings: StudentSettings, previous: Checkpoint, context: StageContext
) -> tuple[nn.Module, PreTrainedTokenizerBase]:
    """A student with random weights drawn from the seed, of the teacher's family and with the previous tokenizer.

    Raises:
        RequestError: A shape that is not possible, or embeddings to start from that the previous checkpoint lacks.
    """
    teacher, before = checkpoints.read_config(context.teacher.path), checkpoints.read_config(previous.path)
    config = student_config(teacher, before, settings, summary=not context.task.restores_tokens)
    student = checkpoints.build(config, context.task, where="distill: student", seed=context.seed)
    if settings.starts_from_embeddings:
        family = family_of(before)
        table = read_weights(previous.path).get(f"{family.backbone}.{family.embeddings}.word_embeddings.weight")
        if table is None:
            raise RequestError(
                "distill: student.embeddings: previous needs a table of word embeddings, and that of the stage before "
                "is made of factors: set student.embeddings: random."
            )
        start_embeddings(student, table)
    return student, checkpoints.load_tokenizer(previous.path)


def start_embeddings(student: nn.Module, table: Tensor) -> None:
    """Start a student's word embeddings from another table [pieces, width], in place.

    A narrower student gets the table's principal directions, those of its largest singular values; what a wider one
    has more starts at zero.
    """
    family = family_of_model(student)
    embeddings: Any = getattr(family.backbone_of(student), family.embeddings)
    own = cast(Tensor, embeddings.word_embeddings.weight)
    wanted = own.shape[1]
    with torch.no_grad():
        if wanted < table.shape[1]:
            _, directions = torch.linalg.eigh(table.T.double() @ table.double())  # ascending
            table = table @ directions.flip(1)[:, :wanted].float()
        own.zero_()
        own[:, : table.shape[1]] = table
