"""Inputs for speed measurements, made of real tokens."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

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


def own_lengths(features: Sequence[Feature], limit: int) -> list[dict[str, np.ndarray]]:
    """Up to `limit` inputs [1, length] at the data's own lengths, spread evenly over the features."""
    step = max(1, len(features) // limit)
    return [
        {name: np.asarray([values], dtype=np.int64) for name, values in feature.inputs.items()}
        for feature in features[::step][:limit]
    ]
