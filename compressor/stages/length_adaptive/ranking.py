"""Teaching the first token's attention to rank tokens that may be answers above others. Pure.

LengthDrop gives no gradient to the choice of tokens. Where the attention of the first token alone makes it, that
attention can be pulled towards what the full model would answer with.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from compressor.models.kinds.length_adaptive import Rank

_SMALLEST = 1e-6
_PADDING_LOGIT = -1e4


def relevance(target: Mapping[str, Tensor], names: Sequence[str], attention_mask: Tensor) -> Tensor:
    """How much each token matters to the answer: the mean of its probabilities as start and end, [batch, length].

    Args:
        target: Logits [batch, length] of the full model by output name, without gradient.
        names: Start and end logits.
        attention_mask: [batch, length], nonzero for real tokens.
    """
    padding = attention_mask == 0
    chances = [torch.softmax(target[name].float().masked_fill(padding, _PADDING_LOGIT), dim=-1) for name in names]
    return torch.stack(chances).mean(dim=0)


def ranking_loss(ranks: Sequence[Rank], relevant: Tensor) -> Tensor:
    """Cross-entropy of the attention that ranks tokens against their relevance, the mean over layers and texts.

    A layer is asked only for tokens that it still has; their relevance is scaled to sum to one.

    Args:
        ranks: One entry for each layer that drops.
        relevant: [batch, length], as `relevance` gives it.
    """
    losses = []
    for paid, positions in ranks:
        wanted = relevant if positions is None else relevant.gather(1, positions)
        wanted = wanted / wanted.sum(dim=1, keepdim=True).clamp(min=_SMALLEST)
        losses.append(-(wanted * paid.clamp(min=_SMALLEST).log()).sum(dim=1).mean())
    return torch.stack(losses).mean()
