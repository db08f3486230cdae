"""Which space of a model each axis of a weight lies in, and which of a space's dimensions are the strongest."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from compressor.models.families import Family, family_of

HIDDEN, EMBEDDING, ATTENTION, FEED_FORWARD = "hidden", "embedding", "attention", "feed_forward"


class Space(NamedTuple):
    """Where vectors of a model live; a layer has its own attention and feed-forward spaces."""

    kind: str
    layer: int | None = None


def axes(name: str, config: Mapping[str, Any]) -> tuple[Space | None, Space | None]:
    """The spaces that a parameter leads to and from; None where an axis is no space (words, positions, labels).

    A vector (bias, LayerNorm) has the second of None.
    """
    family = family_of(config)
    hidden, module = Space(HIDDEN), name.rpartition(".")[0]
    match = re.match(rf"{re.escape(family.backbone)}\.{re.escape(family.layers)}\.(\d+)\.(.*)$", module)
    if match:
        out, into = _of_layer(match[2], int(match[1]), family)
    elif family.projection and module == f"{family.backbone}.{family.projection}":
        out, into = hidden, Space(EMBEDDING)
    elif module.startswith(f"{family.backbone}.{family.embeddings}."):
        own = family.embedding_size(config) != family.hidden_size(config)
        space = Space(EMBEDDING) if own else hidden
        return (None, space) if module.endswith("_embeddings") else (space, None)
    elif module == family.classifier_dense:
        out, into = hidden, hidden
    else:
        out, into = None, hidden
    return out, into if name.endswith(".weight") and not _is_norm(module) else None


def _of_layer(path: str, layer: int, family: Family) -> tuple[Space, Space]:
    hidden, attention, inner = Space(HIDDEN), Space(ATTENTION, layer), Space(FEED_FORWARD, layer)
    known = {
        family.query: (attention, hidden),
        family.key: (attention, hidden),
        family.value: (attention, hidden),
        family.attention_output: (hidden, attention),
        family.feed_forward_in: (inner, hidden),
        family.feed_forward_out: (hidden, inner),
    }
    return known.get(path, (hidden, hidden))  # a LayerNorm


def _is_norm(module: str) -> bool:
    return module.lower().replace("_", "").endswith("layernorm")


def strengths(weights: Mapping[str, Tensor], config: Mapping[str, Any]) -> dict[Space, Tensor]:
    """How strong each dimension of each space is, float64 [dimensions].

    Of every matrix that leads to or from a space, the share of its squares that lies in the dimension; summed.
    """
    found: dict[Space, Tensor] = {}
    for name, weight in weights.items():
        if weight.ndim != 2:
            continue
        squares = weight.double().square()
        for axis, space in enumerate(axes(name, config)):
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
