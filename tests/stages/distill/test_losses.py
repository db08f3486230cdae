"""Each loss against a slow loop over rows, tokens and heads; zero at equality; blind to padding."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from compressor.stages.distill import losses

SIZES = st.tuples(st.integers(1, 3), st.integers(2, 5), st.integers(1, 3), st.integers(1, 4), st.integers(0, 10**6))
quickly = settings(max_examples=25, deadline=None)


def draw(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def draw_mask(batch: int, length: int, seed: int) -> Tensor:
    mask = (draw(batch, length, seed=seed) > -0.5).long()
    mask[:, 0] = 1
    return mask


def softmax(values: list[float]) -> list[float]:
    top = max(values)
    powers = [math.exp(value - top) for value in values]
    return [power / sum(powers) for power in powers]


def divergence(teacher: list[float], student: list[float]) -> float:
    pairs = zip(softmax(teacher), softmax(student), strict=True)
    return sum(p * (math.log(p) - math.log(q)) for p, q in pairs if p > 0)


def real_pairs(mask: Tensor) -> list[tuple[int, int]]:
    return [(b, t) for b in range(mask.shape[0]) for t in range(mask.shape[1]) if mask[b, t]]


def dot(one: Tensor, other: Tensor) -> float:
    return sum(float(x) * float(y) for x, y in zip(one, other, strict=True))


@quickly
@given(SIZES, st.sampled_from([0.5, 1.0, 2.0, 5.0]))
def test_class_logits(sizes: tuple[int, ...], temperature: float) -> None:
    batch, classes, *_, seed = sizes
    student, teacher = draw(batch, classes, seed=seed), draw(batch, classes, seed=seed + 1)
    rows = [
        divergence([x / temperature for x in teacher[b].tolist()], [x / temperature for x in student[b].tolist()])
        for b in range(batch)
    ]
    found = losses.class_logits(student, teacher, temperature)
    assert float(found) == pytest.approx(temperature**2 * sum(rows) / batch, abs=1e-5)


@quickly
@given(SIZES)
def test_token_logits(sizes: tuple[int, ...]) -> None:
    batch, length, classes, _, seed = sizes
    student, teacher = draw(batch, length, classes, seed=seed), draw(batch, length, classes, seed=seed + 1)
    mask = draw_mask(batch, length, seed)
    rows = [divergence(teacher[b, t].tolist(), student[b, t].tolist()) for b, t in real_pairs(mask)]
    assert float(losses.token_logits(student, teacher, mask, 1.0)) == pytest.approx(sum(rows) / len(rows), abs=1e-5)


@quickly
@given(SIZES)
def test_span_logits(sizes: tuple[int, ...]) -> None:
    batch, length, *_, seed = sizes
    student, teacher = draw(batch, length, seed=seed), draw(batch, length, seed=seed + 1)
    mask = draw_mask(batch, length, seed)
    rows = [divergence(teacher[b][mask[b] == 1].tolist(), student[b][mask[b] == 1].tolist()) for b in range(batch)]
    assert float(losses.span_logits(student, teacher, mask, 1.0)) == pytest.approx(sum(rows) / batch, abs=1e-5)


@quickly
@given(SIZES, st.sampled_from([1.0, 3.0]))
def test_label_logits(sizes: tuple[int, ...], temperature: float) -> None:
    batch, labels, *_, seed = sizes
    student, teacher = draw(batch, labels, seed=seed), draw(batch, labels, seed=seed + 1)
    cells = [
        divergence([float(teacher[b, i]) / temperature, 0.0], [float(student[b, i]) / temperature, 0.0])
        for b in range(batch)
        for i in range(labels)
    ]
    found = losses.label_logits(student, teacher, temperature)
    assert float(found) == pytest.approx(temperature**2 * sum(cells) / len(cells), abs=1e-5)


@quickly
@given(SIZES)
def test_hidden_states_and_cosine(sizes: tuple[int, ...]) -> None:
    batch, length, _, width, seed = sizes
    student, teacher = draw(batch, length, width, seed=seed), draw(batch, length, width, seed=seed + 1)
    mask = draw_mask(batch, length, seed)
    squares, distances = [], []
    for b, t in real_pairs(mask):
        squares += [(float(x) - float(y)) ** 2 for x, y in zip(student[b, t], teacher[b, t], strict=True)]
        norms = math.sqrt(dot(student[b, t], student[b, t]) * dot(teacher[b, t], teacher[b, t]))
        distances.append(1 - dot(student[b, t], teacher[b, t]) / norms)
    assert float(losses.hidden_states(student, teacher, mask)) == pytest.approx(sum(squares) / len(squares), abs=1e-4)
    assert float(losses.cosine(student, teacher, mask)) == pytest.approx(sum(distances) / len(distances), abs=1e-4)


def head(projection: Tensor, row: int, token: int, index: int, size: int) -> Tensor:
    return projection[row, token, index * size : (index + 1) * size]


def slow_scores(queries: Tensor, keys: Tensor, row: int, token: int, index: int, size: int) -> list[float]:
    """Scores of one query against every key."""
    query = head(queries, row, token, index, size)
    return [dot(query, head(keys, row, t, index, size)) / math.sqrt(size) for t in range(keys.shape[1])]


@quickly
@given(SIZES)
def test_attention_scores(sizes: tuple[int, ...]) -> None:
    batch, length, heads, size, seed = sizes
    own, other = size, size + 1  # head sizes may differ, their number may not
    projections = [draw(batch, length, heads * own, seed=seed + i) for i in range(2)]
    projections += [draw(batch, length, heads * other, seed=seed + 2 + i) for i in range(2)]
    mask = draw_mask(batch, length, seed)
    squares = []
    for b, t in real_pairs(mask):
        for index in range(heads):
            student = slow_scores(projections[0], projections[1], b, t, index, own)
            teacher = slow_scores(projections[2], projections[3], b, t, index, other)
            squares += [(student[k] - teacher[k]) ** 2 for k in range(length) if mask[b, k]]
    found = losses.attention_scores(*projections, mask, heads)
    assert float(found) == pytest.approx(sum(squares) / len(squares), rel=1e-4, abs=1e-5)


@quickly
@given(SIZES)
def test_attention_distributions(sizes: tuple[int, ...]) -> None:
    batch, length, heads, size, seed = sizes
    projections = [draw(batch, length, heads * size, seed=seed + i) for i in range(4)]
    mask = draw_mask(batch, length, seed)
    rows = []
    for b, t in real_pairs(mask):
        for index in range(heads):
            student = slow_scores(projections[0], projections[1], b, t, index, size)
            teacher = slow_scores(projections[2], projections[3], b, t, index, size)
            real = [k for k in range(length) if mask[b, k]]
            rows.append(divergence([teacher[k] for k in real], [student[k] for k in real]))
    found = losses.attention_distributions(*projections, mask, heads)
    assert float(found) == pytest.approx(sum(rows) / len(rows), rel=1e-4, abs=1e-5)


@quickly
@given(SIZES)
def test_relation_with_other_heads_and_widths(sizes: tuple[int, ...]) -> None:
    batch, length, heads, size, seed = sizes
    own, other = size, 2 * size
    student, teacher = draw(batch, length, heads * own, seed=seed), draw(batch, length, heads * other, seed=seed + 1)
    mask = draw_mask(batch, length, seed)
    rows = []
    for b, t in real_pairs(mask):
        for index in range(heads):
            real = [k for k in range(length) if mask[b, k]]
            mine = slow_scores(student, student, b, t, index, own)
            theirs = slow_scores(teacher, teacher, b, t, index, other)
            rows.append(divergence([theirs[k] for k in real], [mine[k] for k in real]))
    found = losses.relation(student, teacher, mask, heads)
    assert float(found) == pytest.approx(sum(rows) / len(rows), rel=1e-4, abs=1e-5)


Q, K = draw(2, 5, 12, seed=1), draw(2, 5, 12, seed=2)
MASK = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]])
MASKED: dict[str, Callable[[Tensor, Tensor, Tensor], Any]] = {
    "token_logits": lambda own, other, mask: losses.token_logits(own, other, mask, 2.0),
    "span_logits": lambda own, other, mask: losses.span_logits(own[..., 0], other[..., 0], mask, 2.0),
    "hidden_states": losses.hidden_states,
    "cosine": losses.cosine,
    "attention_scores": lambda own, other, mask: losses.attention_scores(own, own, other, other, mask, 3),
    "attention_distributions": lambda own, other, mask: losses.attention_distributions(own, own, other, other, mask, 3),
    "relation": lambda own, other, mask: losses.relation(own, other, mask, 3),
}


@pytest.mark.parametrize("name", list(MASKED))
def test_equal_models_lose_nothing_and_learn_nothing(name: str) -> None:
    student = Q.clone().requires_grad_()
    loss = MASKED[name](student, Q, MASK)
    loss.backward()
    assert loss.item() == pytest.approx(0, abs=1e-6)
    assert student.grad is not None and float(student.grad.abs().max()) < 1e-6


@pytest.mark.parametrize("name", list(MASKED))
def test_padding_changes_neither_loss_nor_gradient(name: str) -> None:
    results = []
    for filling in (0.0, 50.0):
        student, teacher = Q.clone(), K.clone()
        student[MASK == 0], teacher[MASK == 0] = filling, -filling
        student.requires_grad_()
        loss = MASKED[name](student, teacher, MASK)
        loss.backward()
        assert student.grad is not None
        results.append((loss.item(), student.grad))
        assert float(student.grad[MASK == 0].abs().max()) == 0
    assert results[0][0] == pytest.approx(results[1][0], rel=1e-5)
    torch.testing.assert_close(results[0][1], results[1][1])


def test_half_precision_gives_a_float32_loss_close_to_the_exact_one() -> None:
    exact = losses.relation(Q, K, MASK, 3)
    found = losses.relation(Q.bfloat16(), K.bfloat16(), MASK, 3)
    assert found.dtype == torch.float32
    assert float(found) == pytest.approx(float(exact), rel=0.05)


def test_large_logits_stay_numbers() -> None:
    huge = torch.tensor([[1e4, -1e4, 0.0]])
    for loss in (losses.class_logits, losses.label_logits):
        assert torch.isfinite(loss(-huge, huge, 1.0))
