"""Multiply-accumulates and parameters of an encoder at a length configuration, and the arithmetic of the dial.

Imports nothing heavy. MACs as the Length-Adaptive Transformer counts them (its "GFLOPS" are MACs): with l_0 the input
length and l_i the tokens that layer i keeps, for hidden size H and feed-forward size I,

    sum_i [4·l_{i-1}·H² + 2·l_{i-1}²·H + 2·l_i·H·I] + LayerNorm elements + the head.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


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
