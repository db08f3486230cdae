"""Features as padded batches for a graph, in numpy alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from compressor.tasks.base import Feature

Feed = dict[str, NDArray[np.int64]]
TOKENS = ("input_ids", "attention_mask", "token_type_ids")
"""Inputs of a graph that features fill; everything else (the dial) has a default or is given apart."""


def pad(features: Sequence[Feature], names: Sequence[str], pad_id: int) -> Feed:
    """Pad features on the right to the longest of them: int64 [batch, length] for each of `names`.

    A mask or segment row that the features lack is made: ones for real tokens, zeros for segments.
    """
    shape = (len(features), max(feature.length for feature in features))
    feed: Feed = {}
    for name in names:
        rows = np.full(shape, pad_id if name == "input_ids" else 0, dtype=np.int64)
        for row, feature in zip(rows, features, strict=True):
            default = [1] * feature.length if name == "attention_mask" else [0] * feature.length
            row[: feature.length] = feature.inputs.get(name, default)
        feed[name] = rows
    return feed


def by_length(lengths: Sequence[int], *, size: int, tokens: int = 256, spread: float = 0.05) -> Iterator[list[int]]:
    """Groups of indices, longest first, of at most `size` rows, where the shortest is within `spread` of the longest.

    A row more is taken only while a group stays within `tokens`: beyond that, larger batches are no faster on a
    CPU, and a range that dynamic int8 shares among rows costs accuracy.

    Little padding is computed in vain, and the dial, which counts the longest row's tokens, treats all rows
    nearly as it would treat each alone.
    """
    group: list[int] = []
    for index in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        if group:
            longest = lengths[group[0]]
            full = len(group) == size or (len(group) + 1) * longest > tokens
            if full or lengths[index] < (1.0 - spread) * longest:
                yield group
                group = []
        group.append(index)
    if group:
        yield group
