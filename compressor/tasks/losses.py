"""Losses of the task heads, in float32 whatever the model computes in. Imports torch when called."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

IGNORED = -100
"""The label of positions that count for nothing."""


def cross_entropy(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Mean cross-entropy of logits [..., classes] and labels [...]; a scalar in float32.

    Labels outside [0, classes) are left out of the mean; if none is left the loss is zero, not NaN.
    """
    from torch.nn import functional

    classes = logits.shape[-1]
    flat = labels.reshape(-1)
    valid = (flat >= 0) & (flat < classes)
    target = flat.where(valid, flat.new_full((), IGNORED))
    total = functional.cross_entropy(logits.reshape(-1, classes).float(), target, ignore_index=IGNORED, reduction="sum")
    return total / valid.sum().clamp(min=1)


def squared_error(numbers: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Mean squared difference of numbers [batch, 1] and targets [batch]; a scalar in float32."""
    from torch.nn import functional

    return functional.mse_loss(numbers.float().squeeze(-1), targets.float())


def binary_cross_entropy(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Mean binary cross-entropy of logits and 0/1 labels, both [batch, classes]; a scalar in float32."""
    from torch.nn import functional

    return functional.binary_cross_entropy_with_logits(logits.float(), labels.float())
