"""The maps from a large model's weights to a small one's: W_s = L · W_t · R^T, b_s = L · b_t (Chumachenko 2020, eq. 1).

A squeezed linear layer is the large one between two learned linear maps: y = L (W_t (R^T x) + b_t).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from compressor.models.families import family_of
from compressor.models.spaces import ATTENTION, Space, axes_of
from compressor.stages.distill.layer_map import layer_pairs
from compressor.stages.squeeze.strength import strengths, strongest, strongest_of_heads

Start = Callable[[Space, int, int], Tensor]
"""(space of the large model, dimensions of the small one, of the large one) -> map [small, large]."""


class Map(nn.Module):
    """A weight of the large model, mapped; no map where an axis is no space."""

    def __init__(self, left: nn.Parameter | None, right: nn.Parameter | None) -> None:
        super().__init__()
        self.left, self.right = left, right

    def forward(self, weight: Tensor) -> Tensor:
        """[out, in] or [out] of the large model to that of the small one."""
        mapped = weight if self.left is None else self.left @ weight
        return mapped if self.right is None else mapped @ self.right.T


def map_weights(student: nn.Module, large: nn.Module, start: Start) -> None:
    """Make every weight of a student a learned map of the large model's, in place; only the maps are trained.

    Student layers map from the large model's layers spread evenly. Weight and bias of a module share their left map.

    Args:
        student: A stock task model.
        large: Another of the same family and task; its weights are copied and frozen.
        start: What the maps begin as.
    """
    config = cast(Any, large).config.to_dict()
    weights = {name: parameter.detach().clone() for name, parameter in large.named_parameters()}
    sources = {name: source_name(name, cast(Any, student).config.to_dict(), config) for name in names(student)}
    axes = axes_of(weights, family_of(config))
    lefts: dict[str, nn.Parameter] = {}
    for name, source in sources.items():
        module, _, leaf = name.rpartition(".")
        layer = student.get_submodule(module)
        shape = getattr(layer, leaf).shape
        out, into = (*axes[source], None)[:2]
        weight = weights[source]
        if out is not None and module not in lefts:
            lefts[module] = nn.Parameter(start(out, shape[0], weight.shape[0]))
        right = None if into is None else nn.Parameter(start(into, shape[-1], weight.shape[-1]))
        setattr(layer, leaf, nn.Parameter(weight, requires_grad=False))
        left = lefts[module] if out is not None else None
        parametrize.register_parametrization(layer, leaf, Map(left, right), unsafe=True)


@torch.no_grad()
def mapped_weights(student: nn.Module, wanted: list[str]) -> dict[str, Tensor]:
    """The student's weights as they are now, by the names of a plain model."""
    result = {}
    for name in wanted:
        module, _, leaf = name.rpartition(".")
        result[name] = cast(Tensor, getattr(student.get_submodule(module), leaf)).clone()
    return result


def names(model: nn.Module) -> list[str]:
    """The names of a plain model's parameters."""
    return [name for name, _ in model.named_parameters()]


def source_name(name: str, student: Mapping[str, Any], large: Mapping[str, Any]) -> str:
    """The parameter of the large model that one of the student maps from."""
    family = family_of(large)
    pairs = dict(layer_pairs("uniform", family.layer_count(student), family.layer_count(large)))
    return re.sub(
        rf"^({re.escape(family.backbone)}\.{re.escape(family.layers)}\.)(\d+)(?=\.)",
        lambda match: f"{match[1]}{pairs[int(match[2]) + 1] - 1}",
        name,
    )


def selecting(large: nn.Module, heads: int) -> Start:
    """Maps that pick the strongest dimensions, the same ones of a space everywhere, for a student of so many heads.

    The student then begins as the large model with the other dimensions cut away.
    """
    config = cast(Any, large).config.to_dict()
    strength = strengths({name: parameter.detach() for name, parameter in large.named_parameters()}, family_of(config))
    total = family_of(config).head_count(config)

    def start(space: Space, small: int, big: int) -> Tensor:
        if space.kind == ATTENTION:
            chosen = strongest_of_heads(strength[space], total, heads, small)
        else:
            chosen = strongest(strength[space], small)
        return torch.eye(big)[chosen]

    return start


def random(seed: int) -> Start:
    """Maps of independent normal numbers that keep the size of what they map (variance 1 / large)."""
    generator = torch.Generator().manual_seed(seed)
    return lambda space, small, big: torch.randn(small, big, generator=generator) * big**-0.5
