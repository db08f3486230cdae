"""Inputs of two texts: which tokens are of the second, and where its positions begin. Pure.

The first text ends with the first separator; everything behind that is the second.
"""

from __future__ import annotations

import torch
from torch import Tensor


def is_second(input_ids: Tensor, separator: int) -> Tensor:
    """Which tokens are behind the first separator, bool [batch, length]."""
    ends = (input_ids == separator).long()
    return (ends.cumsum(dim=1) - ends) > 0


def apart(second: Tensor) -> Tensor:
    """1 where two tokens are of different texts, else 0; float32 [batch, length, length]."""
    side = second.float()
    return (side.unsqueeze(2) - side.unsqueeze(1)).abs()


def positions(input_ids: Tensor, second: Tensor, *, start: int, first: int, most: int, padding: int) -> Tensor:
    """Numbers of the position embeddings, int64 [batch, length]: the second text's begin at `start` for any first text.

    Args:
        input_ids: [batch, length].
        second: Which tokens are of the second text, [batch, length].
        start: Position of the second text's first token, as if the input began at 0.
        first: The family's number of position 0; above 0 padding has no position of its own and is not counted.
        most: Number of position embeddings; what reaches further gets the last.
        padding: Id of the padding token.
    """
    counted = (input_ids != padding).long() if first else torch.ones_like(input_ids)
    own = counted.cumsum(dim=1) - 1
    begins = ((own + 1) * counted * (1 - second.long())).amax(dim=1, keepdim=True)  # where the second text would begin
    shifted = torch.where(second, own - begins + start, own) + first
    shifted = shifted if not first else torch.where(counted > 0, shifted, torch.full_like(shifted, first - 1))
    return shifted.clamp(min=0, max=most - 1)
