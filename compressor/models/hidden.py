"""A narrower residual stream: which axis of which weight belongs to it, and models that keep some of its dimensions.

The stream is one space from the embeddings to the last LayerNorm: a dimension that goes, goes everywhere. What the
dense layer of a text head gives, its summary, is a space of its own of the same size.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal, cast

import torch
from torch import Tensor, nn

from compressor.errors import CheckpointError
from compressor.models import checkpoint
from compressor.models.families import Family, family_of_model
from compressor.models.widths import with_hidden_size

if TYPE_CHECKING:
    from compressor.tasks.base import Task

Space = Literal["stream", "summary"]
OUTPUTS = ("qa_outputs", "classifier", "classifier.out_proj")
"""Last layers of the heads."""


def axes_of(weights: Mapping[str, Tensor], family: Family) -> dict[str, tuple[Space | None, ...]]:
    """The space of each axis of each weight of a task model, None for axes that are of neither.

    Raises:
        CheckpointError: A weight that no part of a stock encoder has.
    """
    summarised = f"{family.classifier_dense}.weight" in weights
    projected = family.projection is not None and f"{family.backbone}.{family.projection}.weight" in weights
    return {name: _axes(name, tensor, family, summarised, projected) for name, tensor in weights.items()}


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
    for name, spaces in axes_of(weights, family_of_model(model)).items():
        for axis, space in enumerate(spaces):
            if space is not None:
                weights[name] = weights[name].index_select(axis, kept[space].to(weights[name].device))
    smaller: nn.Module = checkpoint.build(with_hidden_size(checkpoint.config_to_save(model), len(stream)), task)
    smaller.load_state_dict(weights)
    return smaller


def output_layer(model: nn.Module, family: Family) -> nn.Module:
    """The last layer of a text head, which reads the summary."""
    name = "classifier.out_proj" if family.classifier_dense == "classifier.dense" else "classifier"
    return cast(nn.Module, model.get_submodule(name))


def _axes(name: str, tensor: Tensor, family: Family, summarised: bool, projected: bool) -> tuple[Space | None, ...]:
    module, _, kind = name.rpartition(".")
    matrix = tensor.ndim == 2
    if module == family.classifier_dense:
        return ("summary", "stream") if matrix else ("summary",)
    if module in OUTPUTS:
        return (None, "summary" if summarised else "stream") if matrix else (None,)
    inside = module.removeprefix(f"{family.backbone}.")
    if inside == family.projection:
        return ("stream", None) if matrix else ("stream",)
    if inside.startswith(f"{family.embeddings}.") and kind in ("weight", "bias"):
        if projected:
            return (None,) * tensor.ndim
        return (None, "stream") if matrix else ("stream",)
    part = inside.removeprefix(f"{family.layers}.").partition(".")[2]
    if part in (family.query, family.key, family.value, family.feed_forward_in):
        return (None, "stream") if matrix else (None,)
    if part in (family.attention_output, family.feed_forward_out):
        return ("stream", None) if matrix else ("stream",)
    if part in (family.attention_norm, family.feed_forward_norm):
        return ("stream",)
    raise CheckpointError(f"the weight '{name}' belongs to no part of a {family.model_type} encoder or its head.")
