"""Running a part of a model as if it were the whole: some of its layers, and of each the first heads and units."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from operator import attrgetter
from typing import Any, cast

from torch import Tensor, nn
from torch.nn.functional import linear

from compressor.models.families import Family, family_of_model
from compressor.models.kinds.widths import LayerWidth, model_widths, tell_attention
from compressor.models.structure import SplitLayers


@contextmanager
def sub_network(
    model: nn.Module, *, layers: Sequence[int] | None = None, widths: Sequence[LayerWidth] | None = None
) -> Iterator[None]:
    """Let a task model run as a part of itself for as long as the context lasts; gradients reach its own weights.

    Args:
        model: A task model without exits.
        layers: Indices from 0 of the layers that run; None: all.
        widths: For every layer of the whole model, how many of its first heads and units run; None: all.
    """
    family = family_of_model(model)
    every = family.layers_of(model)
    with ExitStack() as stack:
        if widths is not None:
            for layer, whole, part in zip(every, model_widths(model), widths, strict=True):
                stack.enter_context(_narrower(layer, family, whole, part))
        if layers is not None:
            stack.enter_context(_shallower(model, family, every, layers))
        yield


@contextmanager
def _shallower(model: nn.Module, family: Family, every: nn.ModuleList, kept: Sequence[int]) -> Iterator[None]:
    path, _, name = family.layers.rpartition(".")
    backbone: Any = family.backbone_of(model)
    owner = attrgetter(path)(backbone)
    split: SplitLayers | None = getattr(backbone, "split_layers", None)
    setattr(owner, name, nn.ModuleList(every[index] for index in kept))
    if split is not None:
        backbone.split_layers = split.of_layers(kept)
    try:
        yield
    finally:
        setattr(owner, name, every)
        if split is not None:
            backbone.split_layers = split


@contextmanager
def _narrower(layer: nn.Module, family: Family, whole: LayerWidth, part: LayerWidth) -> Iterator[None]:
    attention, inner = slice(part.attention), slice(part.feed_forward)
    parts = [(path, attention, slice(None)) for path in (family.query, family.key, family.value)]
    parts.append((family.attention_output, slice(None), attention))
    parts += [(family.feed_forward_in, inner, slice(None)), (family.feed_forward_out, slice(None), inner)]
    modules = [(cast(nn.Linear, attrgetter(path)(layer)), rows, columns) for path, rows, columns in parts]
    for module, rows, columns in modules:
        cast(Any, module).forward = _part_of(module, rows, columns)
    tell_attention(layer, family, part.heads, part.head_size)
    try:
        yield
    finally:
        for module, _, _ in modules:
            del cast(Any, module).forward
        tell_attention(layer, family, whole.heads, whole.head_size)


def _part_of(module: nn.Linear, rows: slice, columns: slice) -> Any:
    def forward(states: Tensor) -> Tensor:
        bias = None if module.bias is None else module.bias[rows]
        return linear(states, module.weight[rows, columns], bias)

    return forward
