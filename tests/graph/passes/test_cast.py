"""The pass `cast`: float16 where it is safe, float32 where tokens are counted and chosen."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, numpy_helper

from compressor.config.schema import parse
from compressor.errors import PassError, RequestError
from compressor.graph import dial, metadata
from compressor.graph.context import PassContext
from compressor.graph.passes.cast.cast import run
from compressor.graph.passes.cast.settings import CastSettings
from compressor.graph.passes.fuse.fuse import run as fuse
from compressor.graph.passes.fuse.settings import FuseSettings
from compressor.graph.passes.nodes import graphs
from compressor.graph.passes.quantize.quantize import run as quantize
from compressor.graph.passes.quantize.settings import QuantizeSettings
from tests.graph.passes.conftest import LAYERS, as_json, run_graph

Make = Callable[..., PassContext]
FLOATS = {TensorProto.FLOAT, TensorProto.FLOAT16}


def settings(**values: Any) -> CastSettings:
    return parse(CastSettings, values, where="recipe.passes.cast")


def weight_types(path: Path) -> set[int]:
    model = onnx.load(path)
    tensors = [tensor for graph in graphs(model.graph) for tensor in graph.initializer]
    return {tensor.data_type for tensor in tensors if np.prod(tensor.dims) >= 64 and tensor.data_type in FLOATS}


@pytest.fixture
def fused_graph(adaptive_graph, adaptive, make_context: Make, tmp_path: Path) -> Path:
    return fuse(adaptive_graph, tmp_path / "fused.onnx", FuseSettings(), make_context(checkpoint=adaptive)).path


@pytest.mark.parametrize("kind", ["stock", "adaptive", "fused", "first"])
def test_outputs_stay_near_and_float32(kind: str, request, make_context: Make, tmp_path: Path) -> None:
    source = request.getfixturevalue(f"{kind}_graph")
    result = run(source, tmp_path / "out.onnx", settings(), make_context())
    notes = as_json(result.notes)
    assert notes["scheme"] == "float16"
    assert notes["bytes_after"] < 0.8 * notes["bytes_before"]
    assert weight_types(result.path) == {TensorProto.FLOAT16}
    for keep in ([1, 1, 1], [0.9, 0.6, 0.3], [0.1, 0.1, 0.1]):
        before, after = run_graph(source, keep=keep), run_graph(result.path, keep=keep)
        for name in before:
            assert after[name].dtype == np.float32
            assert np.abs(before[name] - after[name]).max() < 0.01 * np.ptp(before[name])


@pytest.mark.parametrize("length", [1, 2, 61])
def test_any_length(length: int, adaptive_graph, make_context: Make, tmp_path: Path) -> None:
    result = run(adaptive_graph, tmp_path / "out.onnx", settings(), make_context())
    before = run_graph(adaptive_graph, rows=1, length=length, keep=[0.7, 0.5, 0.5])
    after = run_graph(result.path, rows=1, length=length, keep=[0.7, 0.5, 0.5])
    assert np.abs(before["start_logits"] - after["start_logits"]).max() < 0.02


def test_inputs_dial_and_metadata_are_as_before(adaptive_graph, make_context: Make, tmp_path: Path) -> None:
    result = run(adaptive_graph, tmp_path / "out.onnx", settings(), make_context())
    before, after = onnx.load(adaptive_graph), onnx.load(result.path)
    assert list(after.graph.input) == list(before.graph.input)
    assert list(after.graph.output) == list(before.graph.output)
    assert dial.default(result.path) == [1.0] * LAYERS
    assert metadata.read(result.path) == metadata.read(adaptive_graph)


@pytest.mark.parametrize("kind", ["adaptive", "fused", "first"])
def test_tokens_are_chosen_in_float32(kind: str, request, make_context: Make, tmp_path: Path) -> None:
    """TopK reads float32, and nothing on the way from the probabilities to it, nor from `keep`, is rounded."""
    result = run(request.getfixturevalue(f"{kind}_graph"), tmp_path / "out.onnx", settings(), make_context())
    model = onnx.load(result.path)
    producers = {name: node for graph in graphs(model.graph) for node in graph.node for name in node.output}
    choosers = [node for graph in graphs(model.graph) for node in graph.node if node.op_type == "TopK"]
    assert len(choosers) == LAYERS
    halves = [
        node
        for graph in graphs(model.graph)
        for node in graph.node
        if node.op_type == "Cast" and node.attribute[0].i == TensorProto.FLOAT16
    ]
    rounded = {name for node in halves for name in node.output}
    for node in choosers:
        waiting, seen = [node.input[0]], set()
        while waiting:
            name = waiting.pop()
            if name in seen or name not in producers:
                continue
            seen.add(name)
            assert name not in rounded
            made_by = producers[name]
            is_widening = made_by.op_type == "Cast" and name.split("_")[-2:-1] == ["float"]
            if kind == "first" and made_by.op_type == "Softmax":  # of one token a head: float32 too
                waiting.append(made_by.input[0])
            elif kind == "first" and made_by.op_type == "Add":
                waiting.append(made_by.input[1])  # the mask; the other one are the scores, a float16 product
            elif made_by.op_type not in ("Softmax", "MultiHeadAttention", "Attention") and not is_widening:
                waiting.extend(made_by.input)
    for graph in graphs(model.graph):
        for node in graph.node:
            if "keep" in node.input:
                assert node.op_type != "Cast"


def test_chosen_tokens_are_those_of_float32_for_long_inputs(make_context: Make, tmp_path: Path) -> None:
    """Sums near 2048 differ by one: float16 could not tell them apart, and would count the mask wrongly too."""
    text = """
    <ir_version: 8, opset_import: ["" : 17]>
    toy (int64[b, n] input_ids, int64[b, n] attention_mask) => (float[b, k] chosen)
    <float[1] keep = {0.5}>
    {
        scores = Gather (table, input_ids)
        halfway = MatMul (scores, weights)
        probabilities = Softmax (halfway)
        axis = Constant <value_ints = [1]> ()
        last = Constant <value_ints = [-1]> ()
        half = Constant <value_float = 0.5> ()
        scale = Constant <value_float = 3000.0> ()
        n_tokens = ReduceSum <keepdims = 0> (attention_mask, axis)
        as_float = Cast <to = 1> (n_tokens)
        longest = ReduceMax <keepdims = 0> (as_float)
        wanted = Mul (longest, keep)
        raised = Add (wanted, half)
        floor = Floor (raised)
        k = Cast <to = 7> (floor)
        counts = ReduceSum <keepdims = 0> (probabilities, last)
        position = Cast <to = 1> (input_ids)
        large = Mul (counts, scale)
        significance = Add (large, position)
        values, indices = TopK (significance, k)
        chosen = Cast <to = 1> (indices)
    }
    """
    model = onnx.parser.parse_model(text)
    random = np.random.default_rng(0)
    model.graph.initializer.append(numpy_helper.from_array(random.normal(size=(70, 32)).astype(np.float32), "table"))
    model.graph.initializer.append(numpy_helper.from_array(random.normal(size=(32, 32)).astype(np.float32), "weights"))
    dial.install(model, [0.5], "optional")
    onnx.save(model, tmp_path / "in.onnx")
    result = run(tmp_path / "in.onnx", tmp_path / "out.onnx", settings(), make_context())
    for keep in (1.0, 0.333):
        before = run_graph(tmp_path / "in.onnx", rows=2, length=3001, keep=[keep])
        after = run_graph(result.path, rows=2, length=3001, keep=[keep])
        assert before["chosen"].shape == after["chosen"].shape == (2, int(np.floor(np.float32(keep) * 3001 + 0.5)))


MASKED = """
<ir_version: 8, opset_import: ["" : 17]>
toy (int64[b, n] input_ids, int64[b, n] attention_mask) => (float[b, n] logits)
{
    one = Constant <value_float = 1.0> ()
    axis = Constant <value_ints = [2]> ()
    x = Gather (table, input_ids)
    mask = Cast <to = 1> (attention_mask)
    holes = Sub (one, mask)
    far = Mul (holes, lowest)
    scores = ReduceSum <keepdims = 0> (x, axis)
    masked = Add (scores, far)
    twice = Add (masked, far)
    logits = Softmax (twice)
}
"""


def masked_graph(path: Path, lowest: Any, table: np.ndarray) -> Path:
    model = onnx.parser.parse_model(MASKED)
    model.graph.initializer.append(numpy_helper.from_array(table.astype(np.float32), "table"))
    model.graph.initializer.append(numpy_helper.from_array(np.asarray(lowest, np.float32), "lowest"))
    onnx.save(model, path)
    return path


@pytest.mark.parametrize("lowest", [np.finfo(np.float32).min, -1e9, -65504.0, -1e4])
def test_mask_constants_stay_finite(lowest: float, make_context: Make, tmp_path: Path) -> None:
    table = np.random.default_rng(0).normal(size=(70, 8))
    source = masked_graph(tmp_path / "in.onnx", lowest, table)
    result = run(source, tmp_path / "out.onnx", settings(), make_context())
    assert result.notes["mask_constants"] == int(lowest < -3e4)
    halves = [numpy_helper.to_array(t) for t in onnx.load(result.path).graph.initializer if t.data_type == 10]
    assert all(np.isfinite(values).all() for values in halves)
    before, after = run_graph(source), run_graph(result.path)
    assert np.abs(before["logits"] - after["logits"]).max() < 2e-3
    assert after["logits"][-1, -1] == 0  # padding


def test_weights_beyond_float16(make_context: Make, tmp_path: Path) -> None:
    source = masked_graph(tmp_path / "in.onnx", -1e4, np.linspace(0, 1e5, 560).reshape(70, 8))
    with pytest.raises(PassError, match="weights 'table' reach 1e\\+05"):
        run(source, tmp_path / "out.onnx", settings(), make_context())


def test_branches_with_different_types_are_joined(make_context: Make, tmp_path: Path) -> None:
    """One branch computes, the other hands a tensor or a weight of the outer graph on."""
    model = onnx.parser.parse_model(
        """
        <ir_version: 8, opset_import: ["" : 17]>
        toy (int64[b, n] input_ids, int64[b, n] attention_mask) => (float[b, n, 8] logits)
        {
            x = Gather (table, input_ids)
            total = ReduceSum <keepdims = 0> (attention_mask)
            limit = Constant <value_int = 60> ()
            few = Less (total, limit)
            y, bias = If (few) <
                then_branch = then () => (float[b, n, 8] a, float[8] d) { a = MatMul (x, w) d = Identity (row) },
                else_branch = other () => (float[b, n, 8] c, float[8] e) { c = Identity (x) e = Neg (row) }
            >
            logits = Add (y, bias)
        }
        """
    )
    random = np.random.default_rng(0)
    for name, shape in (("table", (70, 8)), ("w", (8, 8)), ("row", (8,))):
        model.graph.initializer.append(numpy_helper.from_array(random.normal(size=shape).astype(np.float32), name))
    onnx.save(model, tmp_path / "in.onnx")
    result = run(tmp_path / "in.onnx", tmp_path / "out.onnx", settings(), make_context())
    for length in (8, 40):
        before = run_graph(tmp_path / "in.onnx", length=length)["logits"]
        assert np.abs(before - run_graph(result.path, length=length)["logits"]).max() < 0.03


def test_excluded_nodes_keep_float32_weights(stock_graph, make_context: Make, tmp_path: Path) -> None:
    result = run(stock_graph, tmp_path / "out.onnx", settings(exclude=["*qa_outputs*"]), make_context())
    assert weight_types(result.path) == FLOATS
    with pytest.raises(RequestError, match=r"cast: exclude 'qa_output' fits no node.*near names: .*qa_outputs"):
        run(stock_graph, tmp_path / "out.onnx", settings(exclude=["qa_output"]), make_context())


def test_twice_quantized_or_empty(stock_graph, make_context: Make, tmp_path: Path) -> None:
    once = run(stock_graph, tmp_path / "once.onnx", settings(), make_context()).path
    with pytest.raises(PassError, match="is float16 already"):
        run(once, tmp_path / "out.onnx", settings(), make_context())
    int8 = quantize(stock_graph, tmp_path / "int8.onnx", QuantizeSettings(), make_context()).path
    with pytest.raises(PassError, match="either int8 or float16"):
        run(int8, tmp_path / "out.onnx", settings(), make_context())
    empty = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["" : 17]> toy (int64[n] x) => (int64[n] y) { y = Identity (x) }'
    )
    onnx.save(empty, tmp_path / "empty.onnx")
    with pytest.raises(PassError, match="no float32 weights"):
        run(tmp_path / "empty.onnx", tmp_path / "out.onnx", settings(), make_context())
