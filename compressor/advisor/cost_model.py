"""A cost model of one device: a price for each kind of work, none below zero, calibrated on a few measured shapes.

Non-negative least squares on relative errors, with a weak pull of all prices towards zero by the same share of the
total, so that kinds of work that always come together share what they cost instead of one of them getting it all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

PULL = 0.02
"""Weight of the pull towards zero, against one measured shape."""

Features = Mapping[str, float]


@dataclass(frozen=True)
class CostModel:
    """Prices by kind of work."""

    prices: dict[str, float]

    def predict(self, features: Features) -> float:
        """The sum of the work at its prices; work without a price costs nothing."""
        return float(sum(self.prices.get(name, 0.0) * value for name, value in features.items()))


def fit(shapes: Sequence[Features], measured: Sequence[float], *, pull: float = PULL) -> CostModel:
    """The prices that leave the smallest relative errors on the measured shapes.

    Raises:
        ValueError: No shape, not as many figures as shapes, or a figure that is not above zero.
    """
    if not shapes or len(shapes) != len(measured) or min(measured) <= 0:
        raise ValueError("a cost model needs shapes, and a figure above zero for each")
    names = list(dict.fromkeys(name for shape in shapes for name in shape))
    figures = np.asarray(measured, dtype=np.float64)
    work = matrix(shapes, names) / figures[:, None]
    scale = np.abs(work).max(axis=0)
    scale[scale == 0] = 1.0
    rows = np.vstack([work / scale, pull * np.eye(len(names))])
    wanted = np.concatenate([np.ones(len(figures)), np.zeros(len(names))])
    prices, _ = nnls(rows, wanted)
    return CostModel({name: float(price / own) for name, price, own in zip(names, prices, scale, strict=True)})


def left_out_errors(shapes: Sequence[Features], measured: Sequence[float]) -> list[float]:
    """For each shape the relative error of a model that was calibrated on the others."""
    errors = []
    for out in range(len(shapes)):
        rest = [place for place in range(len(shapes)) if place != out]
        model = fit([shapes[place] for place in rest], [measured[place] for place in rest])
        errors.append(abs(model.predict(shapes[out]) / measured[out] - 1))
    return errors


def choose(shapes: Sequence[Features], count: int) -> list[int]:
    """Which shapes to measure: D-optimal, one after the other, each where the model would be least sure.

    Shapes count relative to their own work, so that the large ones do not count for more. Ties go to the first.
    """
    names = list(dict.fromkeys(name for shape in shapes for name in shape))
    work = matrix(shapes, names)
    scale = work.max(axis=0)
    scale[scale == 0] = 1.0
    work = work / scale
    work = work / work.sum(axis=1, keepdims=True)
    known = 1e-3 * np.eye(len(names))
    chosen: list[int] = []
    while len(chosen) < min(count, len(shapes)):
        unsure = np.einsum("ij,jk,ik->i", work, np.linalg.inv(known), work)
        unsure[chosen] = -1.0
        best = int(np.argmax(np.round(unsure, 9)))
        chosen.append(best)
        known += np.outer(work[best], work[best])
    return sorted(chosen)


def matrix(shapes: Sequence[Features], names: Sequence[str]) -> NDArray[np.float64]:
    """Features as rows, in the order of the names; what a shape does not have is 0."""
    return np.asarray([[shape.get(name, 0.0) for name in names] for shape in shapes], dtype=np.float64)
