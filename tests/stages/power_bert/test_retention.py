"""Soft extraction against slow references, its price, and the configuration that it ends in."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from compressor.models.kinds.length_adaptive import make_length_adaptive, stretched
from compressor.models.structure import LengthAdaptive
from compressor.stages.power_bert.retention import (
    Retained,
    Retention,
    SoftExtraction,
    configuration,
    weighted_mass,
)
from tests.models.conftest import make_inputs, make_model
from tests.stages.distill.conftest import tiny_task


@given(st.integers(1, 12), st.integers(1, 12), st.integers(0, 5), st.integers(0, 99))
def test_a_curve_for_texts_of_any_length(ranks: int, count: int, padding: int, seed: int) -> None:
    curve = torch.rand(ranks, generator=torch.Generator().manual_seed(seed))
    found = stretched(curve, torch.tensor([count]), count + padding)[0]
    fine = np.repeat(curve.numpy(), count).reshape(count, ranks).mean(axis=1)  # count · ranks steps, cut into counts
    np.testing.assert_allclose(found[:count].numpy(), fine, atol=1e-4)
    assert found[:count].mean().item() == pytest.approx(curve.mean().item(), abs=1e-4)
    assert (found[count:] == curve[-1]).all()


@pytest.mark.parametrize("restore", [True, False])
@torch.no_grad()
def test_whole_retention_changes_nothing(model_type: str, restore: bool) -> None:
    task = tiny_task("question-answering" if restore else "text-classification")
    model = make_model(model_type, task)
    ids, mask = make_inputs(3, 12)
    mask[1, 5:] = 0
    expected = model(input_ids=ids, attention_mask=mask)
    make_length_adaptive(model, LengthAdaptive(keep=[1.0] * 3, restore=restore, protect_first=not restore))
    found = model(input_ids=ids, attention_mask=mask, retention=torch.ones(3, 7))
    for name in task.output_names:
        keeps = mask.bool() if restore else slice(None)
        torch.testing.assert_close(found[name][keeps], expected[name][keeps], atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_a_layer_by_hand() -> None:
    model = make_model("bert", tiny_task("question-answering"), layers=1)
    ids, mask = make_inputs(1, 6)
    curve = torch.tensor([1.0, 0.8, 0.7, 0.5, 0.2, 0.0])
    layer, states = model.bert.encoder.layer[0], model.bert.embeddings(input_ids=ids)
    query, key = (getattr(layer.attention.self, part)(states).view(6, 4, 8) for part in ("query", "key"))
    received = torch.softmax(torch.einsum("qhd,khd->hqk", query, key) / 8**0.5, dim=-1).sum(dim=(0, 1))
    rank = torch.empty(6, dtype=torch.long)
    rank[torch.argsort(received, descending=True)] = torch.arange(6)
    attended = layer.attention(states)[0] * curve[rank][None, :, None]
    expected = layer.output(layer.intermediate(attended), attended)
    make_length_adaptive(model, LengthAdaptive(keep=[1.0]))
    outputs: list[torch.Tensor] = []
    model.qa_outputs.register_forward_hook(lambda module, inputs, result: outputs.append(inputs[0]))
    model(input_ids=ids, attention_mask=mask, retention=curve[None])
    torch.testing.assert_close(outputs[0], expected, atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_the_first_token_is_never_scaled_where_it_answers() -> None:
    model = make_model("bert", tiny_task("text-classification"), layers=1)
    ids, mask = make_inputs(2, 6)
    make_length_adaptive(model, LengthAdaptive(keep=[1.0], restore=False, protect_first=True))
    whole, nothing = (
        model(input_ids=ids, attention_mask=mask, retention=curve[None]).logits
        for curve in (torch.ones(6), torch.zeros(6))
    )
    torch.testing.assert_close(nothing, whole)


def test_the_loss_by_hand() -> None:
    task = tiny_task("text-classification")
    model: Any = make_length_adaptive(
        make_model("bert", task, layers=2), LengthAdaptive(keep=[1.0] * 2, restore=False, protect_first=True)
    )
    retention = Retention(2, 4, 0.1)
    retention.kept.data = torch.tensor([[1.0, 0.5, 0.5, 0.0], [1.4, 0.25, 0.0, -0.3]])
    ids, mask = make_inputs(2, 6)
    labels = {"labels": torch.tensor([0, 1])}
    inputs = {"input_ids": ids, "attention_mask": mask}
    (loss,) = SoftExtraction(task, 0.1)(Retained(model, retention), inputs, labels, 0)
    assert retention.kept.data[1].tolist() == [1.0, 0.25, 0.0, 0.0]
    alone = task.loss(model(**inputs, retention=retention.kept), labels)
    assert loss.item() == pytest.approx(alone.item() + 0.1 * (1 * 2.0 + 2 * 1.25), rel=1e-5)
    loss.backward()
    assert retention.kept.grad is not None and (retention.kept.grad != 0).all()


def test_later_layers_cost_more() -> None:
    assert weighted_mass(torch.ones(3, 5)).item() == 5 * (1 + 2 + 3)


def test_the_configuration_by_hand() -> None:
    assert configuration([7.2, 7.9, 3.0, 0.0], 10) == [0.8, 0.8, 0.3, 0.1]
    assert configuration([4.1, 9.0], 10) == [0.5, 0.5]  # what is gone does not come back
    assert configuration([10.0000001], 10) == [1.0]
