"""The schedule, the choice of weights and the gradient of the scores."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from compressor.stages.prune_weights.choice import masks, sparsity_at, straight_through


def test_the_schedule_by_hand() -> None:
    found = [sparsity_at(progress, 0.8, 0.2, 0.6) for progress in (0, 0.2, 0.3, 0.4, 0.6, 1)]
    assert found == pytest.approx([0, 0, 0.8 * (1 - 0.75**3), 0.8 * (1 - 0.5**3), 0.8, 0.8])


@given(st.floats(0.01, 0.99), st.integers(0, 50))
def test_exactly_the_share_goes_and_the_smallest_do(sparsity: float, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    scores = [torch.randn(5, 7, generator=generator), torch.randn(4, 3, generator=generator) * 9]
    for one, kept in zip(scores, masks(scores, sparsity, "matrix"), strict=True):
        assert int(kept.sum()) == max(1, one.numel() - round(sparsity * one.numel()))
        assert kept.all() or one[kept].min() >= one[~kept].max()
    together = masks(scores, sparsity, "model")
    assert sum(int(kept.sum()) for kept in together) == max(1, 47 - round(sparsity * 47))
    lowest = min(float(one[kept].min()) for one, kept in zip(scores, together, strict=True) if kept.any())
    assert all(bool((one[~kept] <= lowest).all()) for one, kept in zip(scores, together, strict=True))


def test_equal_scores_are_cut_too() -> None:
    (kept,) = masks([torch.zeros(10)], 0.3, "matrix")
    assert int(kept.sum()) == 7


def test_a_score_learns_where_its_weight_moves() -> None:
    weight = torch.tensor([2.0, -3.0], requires_grad=True)
    scores = torch.tensor([0.5, -0.5], requires_grad=True)
    mask = torch.tensor([True, False])
    product = weight * straight_through(scores, mask)
    assert product.tolist() == [2.0, 0.0]
    (product * torch.tensor([10.0, 100.0])).sum().backward()
    assert scores.grad is not None and scores.grad.tolist() == [20.0, -300.0]  # dL/dW' · W, masked ones too
    assert weight.grad is not None and weight.grad.tolist() == [10.0, 0.0]
