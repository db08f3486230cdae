"""A narrower residual stream: which axis of which weight belongs to it, and models that keep some of its dimensions.

The stream is one space from the embeddings to the last LayerNorm: a dimension that goes, goes everywhere. What the
dense layer of a text head gives, its summary, is a space of its own of the same size.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal, cast, get_args

import torch
from torch import Tensor, nn

from compressor.models import checkpoint, spaces
from compressor.models.families import Family, family_of_model
from compressor.models.kinds.widths import with_hidden_size

if TYPE_CHECKING:
    from compressor.tasks.base import Task

Space = Literal["stream", "summary"]


def axes_of(weights: Mapping[str, Tensor], family: Family) -> dict[str, tuple[Space | None, ...]]:
    """The space of each axis of each weight of a task model, None for axes that are of neither.

    Raises:
        CheckpointError: A weight that no part of a stock encoder has.
    """
    return {name: tuple(_of_stream(space) for space in axes) for name, axes in spaces.axes_of(weights, family).items()}


def _of_stream(space: spaces.Space | None) -> Space | None:
    return cast(Space, space.kind) if space is not None and space.kind in get_args(Space) else None


def narrow_hidden(model: nn.Module, task: Task, stream: Sequence[int], summary: Sequence[int]) -> nn.Module:
    """The same task model with only some dimensions of its residual stream left, a new module.

    Args:
        model: A task model.
        task: Its task.
        stream: Indices from 0 of the dimensions that stay.
        summary: The same of what the dense layer of a text head gives; as many.

    Raises:
        CheckpointError: A weight that no part of a stock encoder has.
    """
    kept = {"stream": torch.tensor(list(stream)), "summary": torch.tensor(list(summary))}
    weights = dict(model.state_dict())
    for name, axes in axes_of(weights, family_of_model(model)).items():
        for axis, space in enumerate(axes):
            if space is not None:
                weights[name] = weights[name].index_select(axis, kept[space].to(weights[name].device))
    smaller: nn.Module = checkpoint.build(with_hidden_size(checkpoint.config_to_save(model), len(stream)), task)
    smaller.load_state_dict(weights)
    return smaller


def output_layer(model: nn.Module, family: Family) -> nn.Module:
    """The last layer of a text head, which reads the summary."""
    name = "classifier.out_proj" if family.classifier_dense == "classifier.dense" else "classifier"
    return model.get_submodule(name)
