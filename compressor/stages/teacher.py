"""The run's teacher for a student of its own or of a smaller vocabulary."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn

from compressor.errors import RequestError
from compressor.models import checkpoint as checkpoints
from compressor.models.families import family_of_model
from compressor.stages.context import Checkpoint, StageContext

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def load_teacher(
    context: StageContext,
    tokenizer: PreTrainedTokenizerBase,
    *,
    new_head: bool = False,
    teacher: Checkpoint | None = None,
) -> nn.Module:
    """The teacher, frozen and in eval mode, reading the ids of a student's tokenizer.

    A student whose vocabulary was pruned has other ids for the same pieces: the teacher then looks its own embeddings
    up for them, so that both read the same pieces at the same places.

    Args:
        context: The stage's.
        tokenizer: The student's.
        new_head: Allow a teacher without a head for the task.
        teacher: Another teacher than the run's.

    Raises:
        RequestError: The student has a piece that the teacher does not know.
        CheckpointError: The teacher cannot be loaded for the task.
    """
    path = (teacher or context.teacher).path
    own = checkpoints.load_tokenizer(path)
    model: nn.Module = checkpoints.load(path, context.task, new_head=new_head)
    model.requires_grad_(False)
    if own.get_vocab() != tokenizer.get_vocab():
        _translate(model, _own_ids(tokenizer, own, f"teacher {path}"))
    return model


def _own_ids(student: PreTrainedTokenizerBase, teacher: PreTrainedTokenizerBase, name: str) -> Tensor:
    """The teacher's id for each of the student's, [pieces]."""
    require_pieces(student, teacher, name)
    known, wanted = teacher.get_vocab(), student.get_vocab()
    ids = torch.zeros(max(wanted.values()) + 1, dtype=torch.long)
    for piece, index in wanted.items():
        ids[index] = known[piece]
    return ids


def require_pieces(student: PreTrainedTokenizerBase, teacher: PreTrainedTokenizerBase, name: str) -> None:
    """Raise `RequestError` if a teacher called `name` does not know each of the student's pieces."""
    known, wanted = teacher.get_vocab(), student.get_vocab()
    unknown = sorted(wanted.keys() - known.keys(), key=wanted.__getitem__)
    if unknown or student.pad_token != teacher.pad_token:
        first = f"'{unknown[0]}'" if unknown else "padding"
        raise RequestError(
            f"student ({len(wanted)} word pieces) and {name} ({len(known)}) have different vocabularies: {first} of "
            "the student means nothing to the teacher. Take a student made from this teacher."
        )


def _translate(model: nn.Module, ids: Tensor) -> None:
    """Let a model's word embeddings be asked by other ids."""
    family = family_of_model(model)
    embeddings: nn.Module = cast(Any, getattr(family.backbone_of(model), family.embeddings)).word_embeddings
    embeddings.register_buffer("other_ids", ids, persistent=False)

    def translate(module: nn.Module, arguments: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return (cast(Any, module).other_ids[arguments[0]],)

    embeddings.register_forward_pre_hook(translate)
