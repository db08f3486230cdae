"""How likely a short training's metric is to become a wanted one. Pure.

What is missing to the best that can be reached shrinks with the number of updates by a power law, one of the families
that learning curves are extrapolated with (Domhan et al. 2015); how fast differs from shape to shape and is not known
before one of them is trained in full.
"""

from __future__ import annotations

import math

STEEPEST = 1.0
"""Exponents of the power law are taken to be anything from 0 to this, all as likely: at 0 a training gains no more, at
1 what is missing shrinks as one over the updates, the fast rate of stochastic optimisation."""


def chance(metric: float, share: float, wanted: float, ceiling: float) -> float:
    """The probability that a candidate has at least `wanted` points after its full training, 0 to 1.

    Args:
        metric: Points after the short training.
        share: Of the full training's updates, above 0.
        wanted: Points that it is asked for.
        ceiling: Points that no candidate is expected to be above.
    """
    missing, allowed = ceiling - metric, ceiling - wanted
    if metric >= wanted:
        return 1.0
    if allowed <= 0 or share >= 1:
        return 0.0
    exponent = math.log(allowed / missing) / math.log(share)  # that it would have to have
    return max(0.0, 1 - exponent / STEEPEST)
