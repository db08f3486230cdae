"""Which dimensions of a model's spaces are the strongest. Pure."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from compressor.models.families import Family
from compressor.models.spaces import Space, axes_of


def strengths(weights: Mapping[str, Tensor], family: Family) -> dict[Space, Tensor]:
    """How strong each dimension of each space is, float64 [dimensions].

    Of every matrix that leads to or from a space, the share of its squares that lies in the dimension; summed.
    """
    found: dict[Space, Tensor] = {}
    for name, axes in axes_of(weights, family).items():
        if len(axes) != 2:
            continue
        squares = weights[name].double().square()
        for axis, space in enumerate(axes):
            if space is not None:
                share = squares.sum(1 - axis) / squares.sum().clamp(min=1e-30)
                found[space] = found.get(space, torch.zeros_like(share)) + share
    return found


def strongest(strength: Tensor, count: int) -> Tensor:
    """The numbers of the strongest dimensions in their own order, int64 [count]."""
    return strength.topk(count).indices.sort().values


def strongest_of_heads(strength: Tensor, heads: int, count: int, width: int) -> Tensor:
    """The same of attention with `heads` heads: of the `count` strongest heads the strongest dimensions, alike in each.

    Where the smaller heads are wider or more, `width` dimensions wherever they are.
    """
    by_head = strength.reshape(heads, -1)
    size = width // count
    if count > heads or size > by_head.shape[1]:
        return strongest(strength, width)
    chosen = strongest(by_head.sum(1), count)
    inner = torch.stack([strongest(by_head[head], size) for head in chosen])
    return (inner + chosen[:, None] * by_head.shape[1]).reshape(-1)
