"""The pass `quantize` by NNCF: smoothing, bias correction, and products that accuracy control gives back to float."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

from compressor.config.schema import parse
from compressor.errors import PassError, RequestError
from compressor.graph.context import PassContext
from compressor.graph.export import export
from compressor.graph.passes.fuse.fuse import run as fuse
from compressor.graph.passes.fuse.settings import FuseSettings
from compressor.graph.passes.quantize.quantize import run
from compressor.graph.passes.quantize.score import Scorer
from compressor.graph.passes.quantize.settings import QuantizeSettings
from compressor.models import checkpoint
from compressor.stages.context import Checkpoint
from tests.graph.passes.conftest import LAYERS, Recorder, as_json, node_types, run_graph

PRODUCTS = 6 * LAYERS
COSTLY = "/bert/encoder/layer.1/intermediate/dense/MatMul"
Make = Callable[..., PassContext]


def settings(**values: Any) -> QuantizeSettings:
    return parse(QuantizeSettings, values, where="recipe.passes.quantize")


@pytest.fixture(scope="module")
def biased_graph(stock: Checkpoint, task: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A graph with biases that are nowhere near zero, as NNCF corrects no others."""
    folder = tmp_path_factory.mktemp("biased")
    model = checkpoint.load(stock.path, task)
    random = torch.Generator().manual_seed(0)
    for name, parameter in model.named_parameters():
        if name.endswith("bias") and "LayerNorm" not in name:
            parameter.data = 0.5 + torch.rand(parameter.shape, generator=random)
    checkpoint.save(model, checkpoint.load_tokenizer(stock.path), folder / "checkpoint")
    export(Checkpoint(folder / "checkpoint", "biased"), task, folder / "biased.onnx", opset=17, dial="optional")
    return folder / "biased.onnx"


def rows_of(path: Path) -> dict[str, np.ndarray]:
    """The constant rows of a graph by name: biases, and factors in front of products."""
    tensors = onnx.load(path).graph.initializer
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in tensors if len(tensor.dims) == 1}


def test_a_fused_adaptive_graph(adaptive_graph, adaptive, make_context: Make, tmp_path: Path) -> None:
    context = make_context(checkpoint=adaptive)
    source = fuse(adaptive_graph, tmp_path / "fused.onnx", FuseSettings(), context).path
    result = run(source, tmp_path / "out.onnx", settings(backend="nncf", exclude=["*value*"]), context)
    assert result.notes["quantized"] == PRODUCTS - LAYERS
    assert result.notes["scheme"]["backend"] == "nncf"
    assert "calibration" not in result.notes  # its ranges are not chosen by that setting
    before, after = run_graph(source, keep=[0.9, 0.6, 0.3]), run_graph(result.path, keep=[0.9, 0.6, 0.3])
    assert np.corrcoef(before["start_logits"].ravel(), after["start_logits"].ravel())[0, 1] > 0.95


@pytest.mark.parametrize("fused", [True, False])
def test_biases_behind_products_are_corrected(fused: bool, biased_graph, make_context: Make, tmp_path: Path) -> None:
    context, source = make_context(), biased_graph
    if fused:
        source = fuse(source, tmp_path / "fused.onnx", FuseSettings(), context).path
    result = run(source, tmp_path / "out.onnx", settings(backend="nncf", smooth="off"), context)
    before, after = rows_of(source), rows_of(result.path)
    changed = [name for name in before.keys() & after.keys() if not np.array_equal(before[name], after[name])]
    assert all(name.endswith(".bias") and "LayerNorm" not in name for name in changed)
    assert result.notes["nncf_corrected_biases"] == len(changed) == PRODUCTS
    assert all(np.abs(before[name] - after[name]).max() < 0.1 for name in changed)
    assert node_types(result.path).count("MatMulIntegerToFloat") == PRODUCTS


def test_tensors_are_smoothed_unless_it_is_switched_off(biased_graph, make_context: Make, tmp_path: Path) -> None:
    def factors(**values: Any) -> int:
        result = run(biased_graph, tmp_path / "out.onnx", settings(backend="nncf", **values), make_context())
        names = [node.name for node in onnx.load(result.path).graph.node if node.op_type == "Mul"]
        count = sum("smooth_quant" in name for name in names)
        assert result.notes["nncf_smoothed"] == count
        return count

    assert factors() == factors(smooth="on") >= 4 * LAYERS
    assert factors(smooth="off") == 0


def test_accuracy_control_that_gives_nothing_back(stock_graph, make_context: Make, tmp_path: Path) -> None:
    result = run(stock_graph, tmp_path / "out.onnx", settings(max_drop=100.0), make_context())
    assert result.notes["quantized"] == PRODUCTS
    assert (result.notes["metric"], result.notes["accuracy_on"]) == ("f1", "search")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.onnx"]


def points_without(*costly: str) -> Callable[[Scorer, onnx.ModelProto, Sequence[int]], tuple[float, list[float]]]:
    """A scorer that takes half of the points where one of these products reads int8; all products if none is named."""

    def points(self: Scorer, model: onnx.ModelProto, indices: Sequence[int]) -> tuple[float, list[float]]:
        dequantized = {node.output[0] for node in model.graph.node if node.op_type == "DequantizeLinear"}
        readers = [node.name for node in model.graph.node if node.op_type == "MatMul" and {*node.input} & dequantized]
        value = 50.0 if (set(costly) & set(readers) if costly else readers) else 100.0
        return value, [value] * len(indices)

    return points


@pytest.mark.parametrize("smooth", ["auto", "off"])
def test_a_costly_product_goes_back_to_float_as_it_was(
    smooth: str, biased_graph, make_context: Make, progress: Recorder, tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.setattr(Scorer, "points", points_without(COSTLY))
    result = run(biased_graph, tmp_path / "out.onnx", settings(max_drop=1.0, smooth=smooth), make_context())
    notes = as_json(result.notes)
    assert notes["float32"] == ["/qa_outputs/MatMul", COSTLY]
    assert "given_back" not in notes
    assert (notes["quantized"], notes["wanted"]) == (PRODUCTS - 1, PRODUCTS)
    assert progress.lines[-1] == f"quantize: {PRODUCTS - 1} of {PRODUCTS} products became int8."
    assert ("smoothed" in notes, notes["nncf_smoothed"]) == (smooth == "auto", 0)
    before, after = (by_input(onnx.load(path), COSTLY) for path in (biased_graph, result.path))
    np.testing.assert_allclose(after, before, rtol=1e-5)


def by_input(model: onnx.ModelProto, product: str) -> np.ndarray:
    """The weights of a product, times the factor in front of it."""
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    makers = {output: node for node in model.graph.node for output in node.output}
    source, weight = next(node.input for node in model.graph.node if node.name == product)
    maker = makers[source]
    factor = constants[maker.input[1]].reshape(-1, 1) if maker.op_type == "Mul" else 1
    return constants[weight] * factor


def test_accuracy_control_that_gives_everything_back(
    stock_graph, make_context: Make, tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.setattr(Scorer, "points", points_without())
    with pytest.raises(PassError, match=f"max_drop: 1 gives all {PRODUCTS} products back to float32"):
        run(stock_graph, tmp_path / "out.onnx", settings(max_drop=1.0), make_context())


def test_accuracy_control_without_data(stock_graph, make_context: Make, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="needs calibration data"):
        run(stock_graph, tmp_path / "out.onnx", settings(max_drop=1.0), make_context(calibration=(), search=()))


def test_nncf_sends_no_reports() -> None:
    """In a process of its own: NNCF keeps silent under pytest anyway."""
    code = """
from compressor.quiet import load_nncf
load_nncf()
import os, nncf.telemetry.wrapper as wrapper
assert not isinstance(wrapper.telemetry, wrapper.NNCFTelemetry), wrapper.telemetry
assert "NNCF_CI" not in os.environ
"""
    environment = {name: value for name, value in os.environ.items() if name != "NNCF_CI"}
    subprocess.run(
        [sys.executable, "-c", code], check=True, env={**environment, "PYTHONPATH": os.pathsep.join(sys.path)}
    )
