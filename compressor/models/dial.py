"""The arithmetic of the length dial: fractions to token counts and back, and what a valid configuration is."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from compressor.errors import DialError


def token_counts(n: int, keep: Sequence[float], minimum: int, *, padded: int | None = None) -> list[int]:
    """Tokens kept by each layer: k_i = clip(floor(keep_i * n + 0.5), minimum, k_{i-1}), in float32 as in the graph.

    `n` is the longest row's count of real tokens; k_0 is the padded length (`padded`, at least n; None: n).
    """
    counts: list[int] = []
    last = n if padded is None else padded
    for fraction in keep:
        wanted = int(np.floor(np.float32(fraction) * np.float32(n) + np.float32(0.5)))
        last = min(max(wanted, minimum), last)
        counts.append(last)
    return counts


def keep_from_counts(counts: Sequence[int], n: int) -> list[float]:
    """The fractions that give exactly these token counts on an input of `n` real tokens.

    Raises:
        DialError: A count leaves 1 ... n, or they grow.
    """
    for before, count in zip([n, *counts], counts, strict=False):
        if not 1 <= count <= before:
            raise DialError(f"token counts {list(counts)} must fall from at most {n} to at least 1.")
    return [count / n for count in counts]


def validate_keep(keep: Sequence[float], layers: int) -> None:
    """Check a length configuration.

    Raises:
        DialError: A wrong number of entries, one outside (0, 1], or one above the entry before.
    """
    if len(keep) != layers:
        raise DialError(f"keep has {len(keep)} entries, the model has {layers} layers: give one a layer.")
    for index, fraction in enumerate(keep):
        if not math.isfinite(fraction) or not 0 < fraction <= 1:
            raise DialError(f"keep[{index}] = {fraction} is outside (0, 1].")
        if index and fraction > keep[index - 1]:
            raise DialError(
                f"keep grows from {keep[index - 1]} to {fraction} at layer {index + 1}: dropped tokens do not return."
            )
