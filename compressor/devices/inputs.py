"""Inputs for speed measurements, made of real tokens."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from compressor.config.run import MeasureSettings
from compressor.errors import DataError
from compressor.tasks.base import Feature


def of_length(features: Sequence[Feature], length: int, batch_size: int) -> dict[str, np.ndarray]:
    """One batch [batch_size, length] without padding, from the longest features.

    A feature that is longer is cut; one that is shorter goes round: its tokens are repeated, so that all `length`
    tokens are real ones.
    """
    if not features:
        raise DataError("speed is measured with the data's own tokens, and there is no example to take them from.")
    chosen = sorted(features, key=lambda feature: -feature.length)[:batch_size]
    rows = [chosen[index % len(chosen)] for index in range(batch_size)]
    return {
        name: np.stack([np.resize(np.asarray(row.inputs[name], dtype=np.int64), length) for row in rows])
        for name in rows[0].inputs
    }


def to_time(
    features: Sequence[Feature],
    blocks: Sequence[int] | None,
    settings: MeasureSettings,
    *,
    longest: int,
    seed: int,
    pad_id: int = 0,
) -> dict[str, np.ndarray] | list[dict[str, np.ndarray]]:
    """What speed is measured with: one input of `measure.length` (or `longest`) real tokens, or texts in turn.

    Texts where a model stops early, as one text would have one depth: as many batches as a round has runs, at their
    own lengths, or at `measure.length` where it is set (which may change the depth, so that it is counted anew).

    Args:
        features: Held-out examples as the model reads them.
        blocks: Layers that the model ran for each of them, [features]; None: it always runs all.
        settings: How speed is measured.
        longest: Tokens of the longest input.
        seed: Of the order in which texts are taken.
        pad_id: The tokenizer's padding, for batches of several texts.
    """
    if blocks is None:
        return of_length(features, settings.length or longest, settings.batch_size)
    chosen = [features[place] for place in of_all_depths(blocks, settings.runs * settings.batch_size, seed=seed)]
    rows = [chosen[start : start + settings.batch_size] for start in range(0, len(chosen), settings.batch_size)]
    if settings.length:
        return [of_length(batch, settings.length, settings.batch_size) for batch in rows]
    return [_padded(batch, pad_id) for batch in rows]


def of_all_depths(blocks: Sequence[int], count: int, *, seed: int) -> list[int]:
    """`count` places of texts (all there are, over again, where those are fewer) in an order drawn by `seed`.

    They are spread evenly over the texts sorted by the layers that these ran, `blocks` [texts], so that the mean of
    the sample is close to that of all.
    """
    draw = np.random.default_rng(seed)
    drawn = draw.permutation(len(blocks))  # among texts of the same depth, the draw decides
    ordered = drawn[np.argsort(np.asarray(blocks)[drawn], kind="stable")]
    spread = ((np.arange(count) + 0.5) * len(blocks) / count).astype(np.int64)
    return [int(place) for place in draw.permutation(ordered[spread])]


def _padded(batch: Sequence[Feature], pad_id: int) -> dict[str, np.ndarray]:
    """[rows, longest] of texts at their own lengths."""
    width = max(feature.length for feature in batch)
    made = {}
    for name in batch[0].inputs:
        made[name] = np.full((len(batch), width), pad_id if name == "input_ids" else 0, dtype=np.int64)
        for row, feature in zip(made[name], batch, strict=True):
            row[: feature.length] = feature.inputs[name]
    return made
