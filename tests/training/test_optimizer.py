"""Schedule and parameter groups."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from compressor.config.training import TrainingSettings
from compressor.training.optimizer import make_optimizer, make_schedule, parameter_groups, warmup_then_linear
from tests.training.conftest import make_model


@given(st.integers(1, 500), st.floats(0, 1))
def test_up_then_down(total: int, warmup: float) -> None:
    factors = [warmup_then_linear(step, total, warmup) for step in range(total + 1)]
    assert all(0 <= factor <= 1 for factor in factors)
    assert all(factor > 0 for factor in factors[:-1])  # no update is wasted
    top = factors.index(max(factors))
    assert factors[: top + 1] == sorted(factors[: top + 1])
    assert factors[top:] == sorted(factors[top:], reverse=True)


def test_without_warmup_it_starts_at_the_peak_and_ends_at_zero() -> None:
    assert [warmup_then_linear(step, 4, 0.0) for step in range(5)] == [1, 0.75, 0.5, 0.25, 0]


def test_biases_and_norms_are_not_decayed() -> None:
    model = make_model()
    model.bert.embeddings.requires_grad_(False)
    decayed, plain = parameter_groups(model, 0.1)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    plain_names = [names[id(parameter)] for parameter in plain["params"]]  # type: ignore[attr-defined]
    assert (decayed["weight_decay"], plain["weight_decay"]) == (0.1, 0.0)
    assert all(name.endswith("bias") or "LayerNorm" in name for name in plain_names)
    decayed_names = [names[id(parameter)] for parameter in decayed["params"]]  # type: ignore[attr-defined]
    assert not [name for name in decayed_names if name.endswith("bias") or "LayerNorm" in name or "embed" in name]
    assert len(plain_names) + len(decayed_names) == sum(p.requires_grad for p in model.parameters())


def test_a_group_without_parameters_is_left_out() -> None:
    assert len(parameter_groups(torch.nn.Linear(2, 2, bias=False), 0.1)) == 1


@pytest.mark.parametrize("total", [1, 2])
def test_very_short_trainings_learn(total: int) -> None:
    assert warmup_then_linear(0, total, 0.06) > 0


def test_a_module_can_have_a_rate_of_its_own() -> None:
    model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Linear(2, 2, bias=False))
    model[1].learning_rate = 0.5  # type: ignore[assignment]
    decayed, plain, own = parameter_groups(model, 0.1)
    assert (own["lr"], own["weight_decay"], own["params"]) == (0.5, 0.0, [model[1].weight])
    assert "lr" not in decayed and "lr" not in plain
    optimizer = make_optimizer(model, TrainingSettings(learning_rate=1e-3))
    schedule = make_schedule(optimizer, 4, 0.0)
    optimizer.step()
    schedule.step()
    assert [group["lr"] for group in optimizer.param_groups] == [0.75e-3, 0.75e-3, 0.375]
