"""Divergences against torch's distributions, one input at a time."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.distributions import Bernoulli, Categorical, kl_divergence

from compressor.stages.length_adaptive.divergence import divergence, mean_divergence

MASK = torch.tensor([[1, 1, 1, 1, 1], [0, 1, 1, 0, 0]])


def logits(*shape: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return 3 * torch.randn(*shape, generator=generator), 3 * torch.randn(*shape, generator=generator)


def kl(p: torch.Tensor, q: torch.Tensor, kind: Any = Categorical) -> float:
    return float(kl_divergence(kind(logits=p), kind(logits=q)).mean())


def test_spans_are_distributions_over_real_positions() -> None:
    p, q = logits(2, 5)
    expected = [kl(p[0], q[0]), kl(p[1, 1:3], q[1, 1:3])]
    assert divergence(p, q, "spans", MASK).item() == pytest.approx(sum(expected) / 2, rel=1e-4)


def test_tokens_are_averaged_over_real_ones() -> None:
    p, q = logits(2, 5, 4)
    real = MASK.bool()
    assert divergence(p, q, "tokens", MASK).item() == pytest.approx(kl(p[real], q[real]), rel=1e-4)
    assert divergence(p, q, "tokens", MASK * 0).item() == 0


def test_numbers_are_as_far_apart_as_their_squared_difference() -> None:
    p, q = torch.tensor([[1.0], [4.0]]), torch.tensor([[3.0], [4.5]])
    assert divergence(p, q, "numbers", MASK).item() == pytest.approx((4 + 0.25) / 2)


def test_classes() -> None:
    p, q = logits(2, 5)
    assert divergence(p, q, "classes", MASK).item() == pytest.approx(kl(p, q), rel=1e-4)


def test_labels_are_bernoulli_each() -> None:
    p, q = logits(2, 5)
    assert divergence(p, q, "labels", MASK).item() == pytest.approx(kl(p, q, Bernoulli), rel=1e-4)


@pytest.mark.parametrize("kind", ["spans", "classes", "labels"])
def test_it_is_zero_for_equal_outputs_and_finite_for_extreme_ones(kind: Any) -> None:
    p, q = logits(2, 5)
    assert divergence(p, p, kind, MASK).item() == pytest.approx(0, abs=1e-6)
    p, q = (1e3 * p).requires_grad_(), 1e3 * q
    value = divergence(p, q, kind, MASK)
    value.backward()
    assert bool(value.isfinite())
    assert p.grad is not None
    assert bool(p.grad.isfinite().all())


def test_directions_and_the_mean_over_outputs() -> None:
    a, b = logits(2, 5)
    c, d = 0.5 * b, 2 * a
    sub, full = {"start": a, "end": c}, {"start": b, "end": d}
    reverse = mean_divergence(sub, full, ("start", "end"), "classes", MASK, "reverse")
    forward = mean_divergence(sub, full, ("start", "end"), "classes", MASK, "forward")
    assert reverse.item() == pytest.approx((kl(a, b) + kl(c, d)) / 2, rel=1e-4)
    assert forward.item() == pytest.approx((kl(b, a) + kl(d, c)) / 2, rel=1e-4)


def test_half_precision_outputs_are_compared_in_float32() -> None:
    p, q = logits(2, 5)
    assert divergence(p.bfloat16(), q.bfloat16(), "classes", MASK).dtype == torch.float32
