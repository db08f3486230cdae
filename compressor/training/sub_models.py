"""Drawing sub-models: LengthDrop (tokens that each layer keeps) and LayerDrop (layers that are skipped). Pure."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from random import Random


@dataclass(frozen=True)
class SubModel:
    """One pass: `counts[i]` tokens stay after layer i; the layers in `skipped` are not run."""

    counts: tuple[int, ...]
    skipped: frozenset[int] = frozenset()


def smallest_kept(tokens: int, drop: float, minimum: int) -> int:
    """The fewest tokens that a layer may keep of what it gets: max(ceil((1 - p) * tokens), minimum), at most all."""
    return min(tokens, max(math.ceil(round((1 - drop) * tokens, 6)), minimum))


def full(length: int, layers: int, skipped: Collection[int] = ()) -> SubModel:
    """Every layer keeps every token."""
    return SubModel((length,) * layers, frozenset(skipped))


def smallest(length: int, drops: Sequence[float], minimum: int) -> SubModel:
    """Every layer keeps as few tokens as LengthDrop can leave: l_i = ceil((1 - p_i) * l_{i-1})."""
    counts = []
    for drop in drops:
        length = smallest_kept(length, drop, minimum)
        counts.append(length)
    return SubModel(tuple(counts))


def draw(length: int, drops: Sequence[float], minimum: int, random: Random, skipped: Collection[int] = ()) -> SubModel:
    """A random sub-model: l_i ~ U{ceil((1 - p_i) * l_{i-1}) ... l_{i-1}}; a skipped layer hands its length on."""
    counts = []
    for layer, drop in enumerate(drops):
        if layer not in skipped:
            length = random.randint(smallest_kept(length, drop, minimum), length)
        counts.append(length)
    return SubModel(tuple(counts), frozenset(skipped))


def draw_skipped(layers: int, probability: float, random: Random) -> frozenset[int]:
    """Layers to skip, each with the given probability (LayerDrop); one layer always runs."""
    skipped = {layer for layer in range(layers) if random.random() < probability}
    if len(skipped) == layers:
        skipped.remove(random.randrange(layers))
    return frozenset(skipped)
