"""Which layers, heads, units and dimensions stay, by their scores. Pure: numbers in, rising indices from 0 out."""

from __future__ import annotations

import math
from collections.abc import Sequence


def best(scores: Sequence[float], count: int) -> list[int]:
    """The `count` highest scores; of equal ones the first."""
    return sorted(ranking(scores)[:count])


def ranking(scores: Sequence[float]) -> list[int]:
    """All indices, the highest score first; equal ones in their order."""
    return sorted(range(len(scores)), key=lambda index: -scores[index])


def best_over_layers(
    scores: Sequence[Sequence[float]], total: int, *, block: int = 1, least: int = 1
) -> list[list[int]]:
    """At least `total` of all layers by one ranking, for every layer.

    Scores are divided by the Euclidean norm of their layer's, as gradients differ in size between layers (Michel et
    al. 2019, section 4.1, after Molchanov et al. 2017). What stays of a layer is its best, in whole blocks.

    Args:
        scores: [layers] of [things].
        total: How many stay; a block more may, so that none is cut.
        block: A block is so many things of like rank in one layer; the last one of a layer may be smaller.
        least: Blocks that every layer keeps.
    """
    blocks = []
    for layer, own in enumerate(scores):
        norm = math.sqrt(sum(score * score for score in own)) or 1.0
        order = ranking(own)
        for number, start in enumerate(range(0, len(order), block)):
            members = order[start : start + block]
            worth = sum(own[index] for index in members) / len(members) / norm
            blocks.append((number >= least, -worth, layer, members))
    kept: list[list[int]] = [[] for _ in scores]
    for spare, _, layer, members in sorted(blocks, key=lambda entry: entry[:3]):
        if not spare or sum(map(len, kept)) < total:
            kept[layer] += members
    return [sorted(own) for own in kept]
