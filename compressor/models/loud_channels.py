"""Channels of activations that are many times louder than most, and by what they are brought down (pure numpy).

After SmoothQuant (Xiao et al. 2023). Int8 activations have one step a tensor, which a few loud channels set for all the
others. Where a tensor has such channels, they are divided by a factor each, and the weights that read them multiplied
by it: the product stays what it is. SmoothQuant scales every channel by a power of activation and weight; on a 6 x 384
SQuAD model, whose quiet channels need nothing, scaling the loud ones alone left less error (divergence of the answers
from float32: 0.0145 without, 0.0058 with SmoothQuant's best power, 0.0043 so).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

LOUD = 6.0
"""A tensor is smoothed if its loudest channel is more than so many times as loud as its median channel."""
QUIET = 3.0
"""What its channels are brought down to, in the same measure."""


def factors(loudness: NDArray[np.float32]) -> NDArray[np.float32] | None:
    """By what each channel is divided [channels], 1 for most of them; None where none is loud.

    `loudness`: the largest absolute number that each channel has shown, [channels].
    """
    middle = float(np.median(loudness))
    if not loudness.max() > LOUD * middle > 0:
        return None
    found: NDArray[np.float32] = np.maximum(1.0, loudness / (QUIET * middle)).astype(np.float32)
    return found
