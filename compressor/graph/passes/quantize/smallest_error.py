"""The range of an activation that leaves the smallest squared error when it is rounded. Pure numpy."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

STEPS = 255
"""Steps between the ends of an 8-bit range; a symmetric one uses one less."""
_SHARES = np.linspace(0.05, 1.0, 39)
"""Candidates, as shares of what was seen."""


def smallest_error_range(
    counts: NDArray[Any], edges: NDArray[Any], low: float, high: float, *, symmetric: bool
) -> tuple[float, float]:
    """Ends of the range, within [low, high] and around 0, whose rounding loses least of a histogram.

    What lies outside of the range becomes its end. The ends are tried in turn, each with the other held.

    Args:
        counts: [bins] values in each bin.
        edges: [bins + 1] borders of the bins.
        low: The smallest value seen.
        high: The largest value seen.
        symmetric: Whether the range must be as wide below 0 as above.
    """
    centers = (np.asarray(edges[1:], np.float64) + np.asarray(edges[:-1], np.float64)) / 2
    seen = np.asarray(counts, np.float64)
    low, high = min(low, 0.0), max(high, 0.0)
    if symmetric:
        widest = max(-low, high)
        best = min(_SHARES * widest, key=lambda end: squared_error(seen, centers, -end, end, STEPS - 1))
        return -float(best), float(best)
    lowest, highest = low, high
    for _ in range(3):
        low = float(min(_SHARES * lowest, key=lambda end: squared_error(seen, centers, end, high, STEPS)))
        high = float(min(_SHARES * highest, key=lambda end: squared_error(seen, centers, low, end, STEPS)))
    return low, high


def squared_error(counts: NDArray[Any], centers: NDArray[Any], low: float, high: float, steps: int) -> float:
    """Sum over the histogram of the squared difference between a value and what `steps` steps make of it."""
    if high <= low:
        return float((counts * np.square(centers)).sum())
    step = (high - low) / steps
    zero = np.rint(-low / step)
    rounded = (np.clip(np.rint(centers / step) + zero, 0, steps) - zero) * step
    return float((counts * np.square(centers - rounded)).sum())
