"""Halting maths against its definitions and, for DACT's bounds, against what later blocks really do."""

import math

import pytest
import torch

from compressor.models.kinds import halting

TRACES = 20_000


def random_traces(blocks: int, classes: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Answers [blocks, traces, classes] and halting units [blocks, traces, 1], many of them near a decision."""
    generator = torch.Generator().manual_seed(seed)
    sharpness = torch.rand(TRACES, generator=generator).mul(8).reshape(1, -1, 1)
    answers = torch.softmax(torch.randn(blocks, TRACES, classes, generator=generator) * sharpness, dim=-1)
    units = torch.rand(blocks, TRACES, 1, generator=generator) ** torch.randint(
        1, 6, (1, TRACES, 1), generator=generator
    )
    return answers.double(), units.double()


def run(answers, units):
    """All blocks: the accumulated answers and the weights after each."""
    so_far, weight = torch.zeros_like(answers[0]), torch.ones_like(units[0])
    states = []
    for answer, unit in zip(answers, units, strict=True):
        so_far = halting.accumulate(answer, so_far, weight)
        weight = weight * unit
        states.append((so_far, weight))
    return states


@pytest.mark.parametrize("bound", ["tight", "paper"])
@pytest.mark.parametrize("classes", [2, 5])
def test_halting_never_changes_the_answer_of_the_full_run(bound, classes):
    blocks = 6
    states = run(*random_traces(blocks, classes))
    final = states[-1][0].argmax(dim=-1)
    stopped_early = torch.zeros(TRACES, dtype=torch.bool)
    for number, (so_far, weight) in enumerate(states[:-1], start=1):
        halts = ~halting.unsettled(so_far, weight, blocks - number, bound).squeeze(-1)
        assert (so_far.argmax(dim=-1) == final)[halts].all()
        stopped_early |= halts
    assert stopped_early.float().mean() > 0.2  # or the test would say nothing


def test_a_known_mistake_does_change_it():
    """With p^d in the place of (1 - p)^d, halting changes answers: the test above can fail."""
    blocks = 6
    states = run(*random_traces(blocks, 3))
    final = states[-1][0].argmax(dim=-1)
    changed = 0
    for number, (so_far, weight) in enumerate(states[:-1], start=1):
        left = blocks - number
        top, weight = so_far.topk(2, dim=-1).values, weight.squeeze(-1)
        halts = top[:, 0] * weight**left >= top[:, 1] + weight * left
        changed += int((so_far.argmax(dim=-1) != final)[halts].sum())
        fixed = top[:, 0] * (1 - weight) >= top[:, 1] + weight
        changed += int((so_far.argmax(dim=-1) != final)[fixed].sum())
    assert changed > 0


def test_the_tight_bound_stops_no_later_than_the_papers():
    blocks = 6
    states = run(*random_traces(blocks, 4))
    earlier = 0
    for number, (so_far, weight) in enumerate(states[:-1], start=1):
        paper = halting.unsettled(so_far, weight, blocks - number, "paper")
        tight = halting.unsettled(so_far, weight, blocks - number, "tight")
        assert paper[tight].all()
        earlier += int((paper & ~tight).sum())
    assert earlier > 0


def test_labels_never_cross_the_threshold_after_halting():
    blocks, threshold = 5, 0.4
    generator = torch.Generator().manual_seed(1)
    answers = torch.sigmoid(torch.randn(blocks, TRACES, 3, generator=generator) * 4).double()
    units = (torch.rand(blocks, TRACES, 1, generator=generator) ** 4).double()
    states = run(answers, units)
    final = states[-1][0] >= threshold
    stopped = torch.zeros(TRACES, dtype=torch.bool)
    for number, (so_far, weight) in enumerate(states[:-1], start=1):
        halts = ~halting.unsettled_labels(so_far, weight, blocks - number, threshold).squeeze(-1)
        assert ((so_far >= threshold) == final)[halts].all()
        stopped |= halts
    assert stopped.float().mean() > 0.1


@pytest.mark.parametrize("bound", ["tight", "paper"])
def test_less_weight_stops_earlier(bound):
    answer, weight = torch.tensor([[0.7, 0.3]]), torch.tensor([[0.3]])
    assert halting.unsettled(answer, weight, 2, bound).item()
    assert not halting.unsettled(answer, weight * 0.4, 2, bound).item()
    assert not halting.unsettled(answer, weight * 0, 2, bound).item()


@pytest.mark.parametrize("bound", ["tight", "paper"])
def test_weight_above_one_never_stops(bound):
    states = run(*random_traces(6, 3))
    for number, (so_far, weight) in enumerate(states[:-1], start=1):
        assert halting.unsettled(so_far, weight.clamp(min=1e-6) * 1e9, 6 - number, bound).all()
        assert halting.unsettled_labels(so_far, weight.clamp(min=1e-6) * 1e9, 6 - number, 0.5).all()


def test_accumulated_answers_stay_probabilities():
    states = run(*random_traces(4, 3))
    for so_far, _ in states:
        torch.testing.assert_close(so_far.sum(dim=-1), torch.ones(TRACES, dtype=so_far.dtype))


def test_accumulate_by_hand():
    so_far = halting.accumulate(torch.tensor([[0.2, 0.8]]), torch.tensor([[0.6, 0.4]]), torch.tensor([[0.25]]))
    torch.testing.assert_close(so_far, torch.tensor([[0.5, 0.5]]))


def test_one_class_is_settled_at_once():
    assert halting.unsettled(torch.ones(2, 1), torch.ones(2, 1), 3, "tight").tolist() == [[False], [False]]


def test_entropy_of_even_and_of_sure_answers():
    values = halting.entropy(torch.tensor([[0.0, 0.0], [30.0, 0.0]]))
    torch.testing.assert_close(values, torch.tensor([[math.log(2)], [0.0]]), atol=1e-6, rtol=0)
    labels = halting.label_entropy(torch.tensor([[0.0, 0.0], [30.0, -30.0]]))
    torch.testing.assert_close(labels, torch.tensor([[math.log(2)], [0.0]]), atol=1e-6, rtol=0)


def test_the_streak_starts_anew_where_answers_differ():
    assert halting.agreeing(torch.tensor([True, False]), torch.tensor([2, 2])).tolist() == [3, 0]
