"""How many weights go when, and which. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor
from torch.autograd import Function

from compressor.stages.prune_weights.settings import Scope


def sparsity_at(progress: float, final: float, start: float, end: float) -> float:
    """Share of the weights that is gone: 0 until `start`, then up along a cubic curve, `final` from `end` on.

    s = f - f (1 - (t - t_0) / (t_1 - t_0))^3 (Zhu & Gupta 2018, eq. 1; as Sanh et al. 2020 use it).

    Args:
        progress: Fraction of the updates that have been made.
        final: The share in the end.
        start: t_0, a fraction of the updates.
        end: t_1, later than `start`.
    """
    left = 1 - (progress - start) / (end - start)
    return final * (1 - min(1.0, max(0.0, left)) ** 3)


def masks(scores: Sequence[Tensor], sparsity: float, scope: Scope) -> list[Tensor]:
    """True where a weight stays: those of the highest scores, exactly the share 1 - `sparsity` (at least one).

    Args:
        scores: One matrix of any shape each.
        sparsity: Share of the weights that goes.
        scope: matrix: the share of each; model: of all together, whose scores are compared.
    """
    if scope == "matrix":
        return [_highest(each.flatten(), sparsity).reshape(each.shape) for each in scores]
    kept = _highest(torch.cat([each.flatten() for each in scores]), sparsity)
    parts = torch.split(kept, [each.numel() for each in scores])
    return [part.reshape(each.shape) for part, each in zip(parts, scores, strict=True)]


def _highest(scores: Tensor, sparsity: float) -> Tensor:
    count = max(1, scores.numel() - round(sparsity * scores.numel()))
    kept = torch.zeros_like(scores, dtype=torch.bool)
    kept[torch.topk(scores, count, sorted=False).indices] = True
    return kept


def straight_through(scores: Tensor, mask: Tensor) -> Tensor:
    """The mask as numbers in the scores' type; the gradient goes to the scores as if they were the mask.

    So a weight W that is multiplied by it has the score gradient dL/dW' · W (Sanh et al. 2020).
    """
    return cast(Tensor, cast(Any, _StraightThrough).apply(scores, mask))


class _StraightThrough(Function):
    @staticmethod
    def forward(ctx: Any, scores: Tensor, mask: Tensor) -> Tensor:
        return mask.to(scores.dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return gradients[0], None
