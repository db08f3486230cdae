"""The retention of tokens by rank, its price, and the configuration that it ends in. Pure but for the module."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from math import ceil
from typing import Any, cast

import torch
from torch import Tensor, nn

from compressor.tasks.base import Task


class Retention(nn.Module):
    """r [layers, ranks] in [0, 1]: how much of the token at each rank of significance passes each layer."""

    def __init__(self, layers: int, ranks: int, learning_rate: float) -> None:
        super().__init__()
        self.learning_rate = learning_rate
        self.kept = nn.Parameter(torch.ones(layers, ranks))

    @torch.no_grad()
    def clamp(self) -> None:
        """Bring what an update put out of range back."""
        self.kept.clamp_(0, 1)

    def mass(self) -> list[float]:
        """What each layer keeps: the sum of its retention, in ranks."""
        return [float(value) for value in self.kept.detach().sum(dim=1)]


class Retained(nn.Module):
    """The student with the retention while that is learned."""

    def __init__(self, student: nn.Module, retention: Retention) -> None:
        super().__init__()
        self.student = student
        self.retention = retention


class SoftExtraction:
    """Loss(theta, r) + price · sum over the layers j of j · mass(j; r) (Goyal et al. 2020)."""

    def __init__(self, task: Task, price: float) -> None:
        self.task = task
        self.price = price

    def __call__(
        self, model: nn.Module, inputs: Mapping[str, Tensor], labels: Mapping[str, Tensor], step: int
    ) -> Iterator[Tensor]:
        """The loss of one batch; no token is dropped, each is scaled by the retention of its rank."""
        retained = cast(Retained, model)
        retained.retention.clamp()
        kept = retained.retention.kept
        outputs: Any = retained.student(**inputs, retention=kept)
        yield self.task.loss(outputs, labels) + self.price * weighted_mass(kept)


def weighted_mass(kept: Tensor) -> Tensor:
    """Sum over the layers, counted from 1, of layer number times mass; [layers, ranks] to a scalar."""
    numbers = torch.arange(1, len(kept) + 1, device=kept.device, dtype=kept.dtype)
    return (numbers * kept.sum(dim=1)).sum()


def configuration(mass: Sequence[float], ranks: int) -> list[float]:
    """The fraction of the tokens that each layer keeps: its mass, rounded up to a rank, and no more than before it."""
    keep: list[float] = []
    for each in mass:
        wanted = min(ranks, max(1, ceil(round(each, 6)))) / ranks
        keep.append(min([wanted, *keep[-1:]]))
    return keep
