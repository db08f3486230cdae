"""The grid: what is laid out, what it is called, and that every candidate is a recipe by itself."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from compressor.advisor.candidates import Candidate, Shape, allowed_formats, lay_out, recipe
from compressor.advisor.settings import AdviseSettings
from compressor.config.device import DeviceProfile, Provider
from compressor.config.schema import parse
from compressor.errors import RequestError

BERT = {
    "model_type": "bert", "num_hidden_layers": 6, "hidden_size": 32, "num_attention_heads": 4,
    "intermediate_size": 64, "vocab_size": 100, "max_position_embeddings": 64,
}  # fmt: skip


def settings(**values: Any) -> AdviseSettings:
    return parse(AdviseSettings, values, where="test")


def device(number_format: str = "dynamic_int8", provider: str = "CPUExecutionProvider") -> DeviceProfile:
    return DeviceProfile(name="board", description="", providers=[Provider(name=provider)], number_format=number_format)


def test_every_combination_once_with_the_formats_that_the_device_is_fast_at() -> None:
    grid = {"layers": [1.0, 0.5, 0.49], "widths": [1.0, {"heads": 0.5}], "keep": [1.0, 0.9, 0.8]}
    names = [candidate.name for candidate in lay_out([BERT], settings(grid=grid), device())]

    assert len(names) == len(set(names)) == 2 * 2 * 2 * (1 + 2)  # 0.49 of six layers are three too
    assert {"l6-w100-fp32", "l3-h50f100-k90-int8", "l3-w100-k80-fp32"} <= set(names)


def test_a_second_teacher_has_layers_of_its_own() -> None:
    small = {**BERT, "num_hidden_layers": 2}
    grid = {"layers": [1.0, 0.5], "widths": [1.0], "keep": [1.0]}
    names = [candidate.name for candidate in lay_out([BERT, small], settings(grid=grid), device("float32"))]

    assert names == ["l6-w100-fp32", "l3-w100-fp32", "t1-l2-w100-fp32", "t1-l1-w100-fp32"]


def test_a_recipe_has_only_the_stages_that_its_shape_needs() -> None:
    whole = Candidate(Shape(0, 6, 6), "float32")
    cut = Candidate(Shape(0, 3, 6, heads=0.5, adaptive=True), "dynamic_int8", keep=0.8)

    assert recipe(whole, settings(), "text-classification")["stages"] == {}
    assert list(whole.passes()) == ["fuse"]
    assert list(cut.shape.stages(settings())) == ["drop_layers", "prune_widths", "distill", "length_adaptive"]
    assert cut.shape.stages(settings())["prune_widths"] == {"heads": 0.5, "feed_forward": 1.0}
    assert cut.passes() == {"fuse": {}, "quantize": {"mode": "dynamic"}, "set_lengths": {"keep": 0.8}}
    assert recipe(cut, settings(), "text-classification")["name"] == "advised-l3-h50f100-k80-int8"


def test_a_share_of_the_budget_is_a_share_of_the_epochs() -> None:
    shape = Shape(0, 3, 6, adaptive=True)
    asked = settings(distill={"epochs": 4.0, "max_steps": 10}, length_adaptive={"epochs": 2.0})

    assert shape.stages(asked, 0.25)["distill"]["epochs"] == 1.0
    assert shape.stages(asked, 0.25)["distill"]["max_steps"] == 2
    assert shape.stages(asked, 0.25)["length_adaptive"]["epochs"] == 0.5
    assert shape.stages(asked)["distill"]["epochs"] == 4.0
    assert shape.stages(asked)["distill"]["hidden"] == 1.0  # what the words leave open stays as it was


def test_float16_is_for_gpus() -> None:
    gpu = device("float16", "CUDAExecutionProvider")

    assert allowed_formats("auto", dataclasses.replace(gpu, host="me@gpu")) == ["float32", "float16"]
    assert allowed_formats("auto", gpu) == ["float16"]  # this processor cannot tell what is faster there
    with pytest.raises(RequestError, match="'board' runs on the CPU, where ONNX Runtime computes float16 in float32"):
        allowed_formats(["float16"], device())


def test_an_empty_grid_is_refused() -> None:
    with pytest.raises(RequestError, match="advise.grid is empty"):
        lay_out([BERT], settings(grid={"layers": []}), device())
    with pytest.raises(RequestError, match="advise.grid.formats is empty"):
        lay_out([BERT], settings(grid={"formats": []}), device())


def test_shares_that_cannot_be_told_apart_are_refused() -> None:
    with pytest.raises(RequestError, match="two candidates would be called 'l6-w100-k80-fp32'"):
        lay_out([BERT], settings(grid={"layers": [1.0], "widths": [1.0], "keep": [0.8, 0.801]}), device("float32"))
