"""The best product of two smaller matrices in the place of one: weighted truncated singular values. Pure.

Shapes: `weight` is [out, in] as in `nn.Linear`; factors are `first` [rank, in] and `second` [out, rank].
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

DAMPING = 0.01
"""What is added to the variance of every input, as a fraction of their mean: unseen directions keep some weight."""


@dataclass(frozen=True)
class Weighting:
    """How much an error of the weights matters: (W - W') `root`; `inverse` undoes it. Float64 [in, in] or [in]."""

    root: Tensor
    inverse: Tensor

    def times(self, weight: Tensor) -> Tensor:
        """`weight` [..., in] times `root`."""
        return weight @ self.root if self.root.ndim == 2 else weight * self.root

    def divided(self, weight: Tensor) -> Tensor:
        """`weight` [..., in] times `inverse`."""
        return weight @ self.inverse if self.inverse.ndim == 2 else weight * self.inverse


def by_covariance(covariance: Tensor) -> Weighting:
    """Errors as they show in the outputs: the symmetric root of the inputs' covariance [in, in] (whitening)."""
    matrix = covariance.double()
    damping = DAMPING * matrix.diagonal().mean().clamp(min=torch.finfo(torch.float32).tiny)
    values, vectors = torch.linalg.eigh(matrix + damping * torch.eye(len(matrix), dtype=torch.float64))
    roots = values.clamp(min=float(damping)).sqrt()
    return Weighting(vectors * roots @ vectors.T, vectors / roots @ vectors.T)


def by_importance(importance: Tensor) -> Weighting:
    """Errors of a column count by the root of its importance [in], such as summed squared gradients (FWSVD, eq. 6)."""
    values = importance.double()
    damping = DAMPING * values.mean().clamp(min=torch.finfo(torch.float32).tiny)
    roots = (values + damping).sqrt()
    return Weighting(roots, 1 / roots)


@dataclass(frozen=True)
class Decomposition:
    """Singular values [k], the largest first, and vectors of a weight [out, in] under a weighting."""

    values: Tensor
    left: Tensor  # [out, k]
    right: Tensor  # [k, in], the weighting undone

    def factors(self, rank: int) -> tuple[Tensor, Tensor]:
        """`first` [rank, in] and `second` [out, rank], float32; each takes the root of the singular values."""
        roots = self.values[:rank].sqrt()
        return (roots[:, None] * self.right[:rank]).float(), (self.left[:, :rank] * roots).float()


def decompose(weight: Tensor, weighting: Weighting | None = None) -> Decomposition:
    """Singular value decomposition of `weight` · root; without a weighting of the weight itself.

    Cut at a rank it has, of all products of that rank, the least squared error under the weighting
    (Eckart and Young 1936).
    """
    matrix = weight.double()
    left, values, right = torch.linalg.svd(
        matrix if weighting is None else weighting.times(matrix), full_matrices=False
    )
    return Decomposition(values, left, right if weighting is None else weighting.divided(right))


def rank_of_energy(values: Tensor, share: float) -> int:
    """The fewest singular values [k] whose squares make up a share of the sum of all squares; at least one."""
    energy = values.square().cumsum(0)
    return min(int((energy < share * energy[-1] * (1 - 1e-12)).sum()) + 1, len(values))
