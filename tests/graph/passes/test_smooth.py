"""Loud channels: smoothing changes nothing in float32 and much in int8."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from compressor.config.schema import parse
from compressor.errors import RequestError
from compressor.graph.context import PassContext
from compressor.graph.passes.nodes import name_nodes, products
from compressor.graph.passes.quantize.onnxruntime_backend import dynamic_int8
from compressor.graph.passes.quantize.quantize import run
from compressor.graph.passes.quantize.scheme import resolve
from compressor.graph.passes.quantize.settings import QuantizeSettings
from compressor.graph.passes.quantize.smooth import smooth
from tests.graph.passes.conftest import make_device

Make = Callable[..., PassContext]
WIDTH = 64


def model_of(*, transposed: bool) -> onnx.ModelProto:
    """x [rows, width] into a MatMul and a Gemm that share nothing but x; the Gemm's weights may be transposed."""
    random = np.random.default_rng(0)
    first, second = (random.standard_normal((WIDTH, WIDTH)).astype(np.float32) for _ in range(2))
    nodes = [
        helper.make_node("Relu", ["input"], ["x"], "relu"),
        helper.make_node("MatMul", ["x", "first"], ["a"], "matmul"),
        helper.make_node("Gemm", ["x", "second", "bias"], ["b"], "gemm", transB=int(transposed)),
        helper.make_node("Add", ["a", "b"], ["c"], "add"),
        helper.make_node("Add", ["c", "x"], ["output"], "residual"),
    ]
    weights = {"first": first, "second": second.T.copy() if transposed else second, "bias": second[0]}
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["rows", WIDTH])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, ["rows", WIDTH])],
        [numpy_helper.from_array(values, name) for name, values in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    name_nodes(model)
    return model


def inputs(loud: float) -> np.ndarray:
    values = np.random.default_rng(1).standard_normal((40, WIDTH)).astype(np.float32)
    values[:, 5] *= loud
    return values


def output(model: onnx.ModelProto | Path, values: np.ndarray) -> np.ndarray:
    source = str(model) if isinstance(model, Path) else model.SerializeToString()
    return onnxruntime.InferenceSession(source, providers=["CPUExecutionProvider"]).run(None, {"input": values})[0]


@pytest.mark.parametrize("transposed", [False, True])
def test_the_product_stays_and_int8_comes_nearer(transposed: bool, make_context: Make, tmp_path: Path) -> None:
    values = inputs(50.0)
    plain, smoothed = model_of(transposed=transposed), model_of(transposed=transposed)
    expected = output(plain, values)
    assert smooth(smoothed, products(smoothed), [{"input": values}], make_context(), tmp_path) == ["x"]
    onnx.checker.check_model(smoothed)
    assert np.abs(output(smoothed, values) - expected).max() < 1e-3
    assert {tensor.name for tensor in smoothed.graph.initializer} & {"first", "second"} == set()

    scheme = resolve(QuantizeSettings(mode="dynamic"), make_device())
    errors = []
    for name, model in (("plain", plain), ("smoothed", smoothed)):
        target = tmp_path / f"{name}.onnx"
        dynamic_int8(model, products(model), scheme, target)
        errors.append(float(np.abs(output(target, values) - expected).mean()))
    assert errors[1] < errors[0] / 3


def test_quiet_tensors_are_left_alone(make_context: Make, tmp_path: Path) -> None:
    model = model_of(transposed=False)
    before = model.SerializeToString()
    assert smooth(model, products(model), [{"input": inputs(1.0)}], make_context(), tmp_path) == []
    assert model.SerializeToString() == before


def test_it_is_done_where_there_is_data_and_not_switched_off(stock_graph, make_context: Make, tmp_path: Path) -> None:
    def notes(context: PassContext, **values: str) -> object:
        settings = parse(QuantizeSettings, {"mode": "dynamic", **values}, where="recipe.passes.quantize")
        return run(stock_graph, tmp_path / "out.onnx", settings, context).notes.get("smoothed")

    assert isinstance(notes(make_context()), list)
    assert notes(make_context(), smooth="off") is None
    assert notes(make_context(calibration=())) is None
    with pytest.raises(RequestError, match="needs calibration data"):
        notes(make_context(calibration=()), smooth="on")
