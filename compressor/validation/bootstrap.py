"""How sure a difference between two models is: a paired bootstrap over examples (Efron & Tibshirani 1993, ch. 13)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

_CHUNK = 2_000_000
"""Drawn indices at a time, to bound memory."""


@dataclass(frozen=True)
class Interval:
    """Mean difference in points and the limits that hold `level` of the resampled ones."""

    difference: float
    low: float
    high: float
    level: float
    resamples: int


def paired_interval(
    scores: np.ndarray, reference: np.ndarray, *, seed: int = 0, resamples: int = 2000, level: float = 0.95
) -> Interval:
    """Percentile interval of mean(scores - reference), both [examples] on the same examples in the same order.

    Raises `ValueError` for different or empty lengths.
    """
    if scores.shape != reference.shape or scores.ndim != 1 or not len(scores):
        raise ValueError(f"two lists of scores of one length are needed, not {scores.shape} and {reference.shape}")
    differences = np.asarray(scores, dtype=np.float64) - np.asarray(reference, dtype=np.float64)
    random = np.random.default_rng(seed)
    size = len(differences)
    step = max(1, _CHUNK // size)
    means = np.concatenate(
        [
            differences[random.integers(0, size, (min(step, resamples - start), size))].mean(axis=1)
            for start in range(0, resamples, step)
        ]
    )
    tail = (1 - level) / 2 * 100
    low, high = np.percentile(means, (tail, 100 - tail))
    return Interval(float(differences.mean()), float(low), float(high), level, resamples)
