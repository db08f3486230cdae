"""Rounding to int8 while a model trains: the numbers, their gradients, and what is saved."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from compressor.models import checkpoint, macs
from compressor.models.kinds.fake_quantize import InputRange, rounded_weight, weight_codes
from compressor.models.kinds.quantizers import (
    QuantizedLinear,
    encoder_linears,
    make_quantizers,
    quantized_layers,
    unrounded_inputs,
)
from compressor.models.structure import LowRank, Quantizers, Structure, with_structure
from tests.stages.distill.conftest import make_tokenizer, model_config, tiny_task

TASK = tiny_task("text-classification")


@pytest.mark.parametrize(("low", "high"), [(-1.3, 2.7), (0.0, 5.0), (-3.0, 0.0), (-0.01, 9.0), (0.5, 2.0)])
def test_numbers_in_training_are_those_at_rest(low: float, high: float) -> None:
    """NNCF rounds while the model trains, PyTorch otherwise."""
    rounding = InputRange()
    with torch.no_grad():
        rounding.low.fill_(low)
        rounding.width.fill_(high - low)
    states = torch.linspace(-4, 10, 999).reshape(3, 333)
    at_rest = rounding.eval()(states)
    torch.testing.assert_close(rounding.train()(states), at_rest, atol=1e-5, rtol=1e-5)
    assert len(at_rest.unique()) <= 256
    assert rounding(torch.zeros(1)).item() == 0.0
    step, zero = rounding.step_and_zero()
    codes = torch.clamp(torch.round(states / step) + zero, 0, 255)
    torch.testing.assert_close(
        at_rest, (codes - zero) * step, atol=step.item() * 1.01, rtol=0
    )  # ties may go either way
    assert ((at_rest - (codes - zero) * step).abs() > step / 2).float().mean() < 0.02


def test_ends_learn_from_what_lies_outside() -> None:
    rounding = InputRange().train()
    rounding.start(-1.0, 1.0)
    states = torch.tensor([-2.0, 0.1, 3.0], requires_grad=True)
    rounding(states).sum().backward()
    assert states.grad is not None and rounding.low.grad is not None and rounding.width.grad is not None
    assert states.grad.tolist() == [0.0, 1.0, 0.0]
    assert rounding.low.grad.item() == pytest.approx(2.0)  # both ends move with it
    assert rounding.width.grad.item() == pytest.approx(1.0, abs=0.01)  # the upper end alone


@pytest.mark.parametrize("bits", [7, 8])
def test_weights_have_one_step_a_row(bits: int) -> None:
    weight = torch.randn(5, 40, generator=torch.Generator().manual_seed(0)) * torch.tensor(
        [[1.0], [9.0], [0.1], [3], [0]]
    )
    weight.requires_grad_()
    codes, steps = weight_codes(weight.detach(), bits)
    highest = 2 ** (bits - 1) - 1
    assert codes.abs().amax(dim=1).tolist() == [highest] * 4 + [0]
    rounded = rounded_weight(weight, bits)
    assert ((rounded - weight).abs() <= steps / 2 + 1e-7).all()
    rounded.sum().backward()
    assert weight.grad is not None and torch.equal(weight.grad, torch.ones_like(weight))


@pytest.mark.parametrize("model_type", ["bert", "roberta", "distilbert", "electra"])
def test_all_matrices_of_every_family_round(model_type: str) -> None:
    model = checkpoint.build(model_config(model_type, 2, 32, 4), TASK)
    names = set(model.state_dict())
    parameters = {id(layer.weight) for layer in encoder_linears(model)}
    make_quantizers(model, Quantizers())
    layers = quantized_layers(model)
    assert len(layers) == 12 and {id(layer.weight) for layer in layers.values()} == parameters
    assert set(model.state_dict()) - names == {
        f"{name}.input_range.{end}" for name in layers for end in ("low", "width")
    }


def test_both_factors_of_a_matrix_round_and_are_counted(tmp_path: Path) -> None:
    config = model_config("bert", 2, 32, 4)
    low_rank = LowRank(ranks={"bert.encoder.layer.1.intermediate.dense": 8})
    config = with_structure(config, Structure(low_rank=low_rank, quantizers=Quantizers(weight_bits=7)))
    model: Any = checkpoint.build(config, TASK)
    assert len(quantized_layers(model)) == 13
    assert macs.parameter_count(config, TASK) == sum(parameter.numel() for parameter in model.parameters())
    layer = model.bert.encoder.layer[1].intermediate.dense.second
    layer.input_range.start(-2.0, 6.0)
    checkpoint.save(model, make_tokenizer([f"w{i}" for i in range(34)]), tmp_path)
    again: Any = checkpoint.load(tmp_path, TASK)
    assert checkpoint.structure_of(again) == checkpoint.structure_of(model)
    assert torch.equal(again.bert.encoder.layer[1].intermediate.dense.second.input_range.width, torch.tensor([8.0]))
    inputs = {"input_ids": torch.tensor([[2, 7, 8, 9, 3]]), "attention_mask": torch.ones(1, 5, dtype=torch.long)}
    with torch.no_grad():
        assert torch.equal(again(**inputs).logits, model(**inputs).logits)


def test_without_rounding_inputs_are_only_cut_off() -> None:
    layer: Any = nn.Linear(2, 2)
    holder = nn.ModuleList([layer])
    layer.__class__, layer.input_range, layer.weight_bits = QuantizedLinear, InputRange(), 8
    states = torch.tensor([[0.123456, 7.0]])
    with unrounded_inputs(holder):
        found = layer.eval().input_range(states)
    assert found[0, 0].item() == pytest.approx(0.123456, abs=1e-7)
    assert 0.9 < found[0, 1].item() < 1.1
    assert layer.input_range(states)[0, 0].item() != pytest.approx(0.123456, abs=1e-5)
