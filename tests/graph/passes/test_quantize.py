"""The pass `quantize`: what becomes int8, how near it stays, and what is refused."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as np_st
from onnx import numpy_helper

from compressor.config.device import Provider
from compressor.config.schema import parse
from compressor.errors import PassError, RequestError
from compressor.graph import dial, metadata
from compressor.graph.context import PassContext
from compressor.graph.passes.fuse.fuse import run as fuse
from compressor.graph.passes.fuse.settings import FuseSettings
from compressor.graph.passes.quantize.calibration import calibration_feeds, collect_ranges
from compressor.graph.passes.quantize.embeddings import quantize_blocks, quantize_embeddings, quantize_rows
from compressor.graph.passes.quantize.integer_ops import to_integer_products
from compressor.graph.passes.quantize.quantize import run
from compressor.graph.passes.quantize.scheme import resolve
from compressor.graph.passes.quantize.settings import QuantizeSettings
from compressor.graph.passes.quantize.unread import check_unread
from compressor.graph.passes.session import open_session
from tests.graph.passes.conftest import LAYERS, as_json, make_device, node_types, run_graph

PRODUCTS = 6 * LAYERS  # query, key, value, output, two of the feed-forward block
Make = Callable[..., PassContext]


def settings(**values: Any) -> QuantizeSettings:
    return parse(QuantizeSettings, values, where="recipe.passes.quantize")


def largest_error(first: Path, second: Path, **extra: Any) -> float:
    """Largest difference of logits, as a fraction of their range."""
    one, two = run_graph(first, **extra), run_graph(second, **extra)
    return max(float(np.abs(one[name] - two[name]).max() / np.ptp(one[name])) for name in one)


def float_weights(path: Path) -> list[tuple[int, ...]]:
    model = onnx.load(path)
    return [tuple(tensor.dims) for tensor in model.graph.initializer if tensor.data_type == 1 and len(tensor.dims) == 2]


@pytest.mark.parametrize("mode", ["dynamic", "static"])
@pytest.mark.parametrize("kind", ["stock", "adaptive"])
def test_every_wide_product_becomes_int8(kind: str, mode: str, request, make_context: Make, tmp_path: Path) -> None:
    source = request.getfixturevalue(f"{kind}_graph")
    result = run(source, tmp_path / "out.onnx", settings(mode=mode), make_context())
    notes = as_json(result.notes)
    assert (notes["quantized"], notes["wanted"], notes["products"]) == (PRODUCTS, PRODUCTS, PRODUCTS + 1)
    assert len(notes["float32"]) == 1
    assert "qa_outputs" in notes["float32"][0]
    assert notes["bytes_after"] == result.path.stat().st_size < source.stat().st_size
    types = node_types(result.path)
    assert types.count("MatMulInteger" if mode == "dynamic" else "MatMulIntegerToFloat") == PRODUCTS
    assert types.count("TopK") == node_types(source).count("TopK")
    for keep in ([1, 1, 1], [0.5, 0.5, 0.5]) if kind == "adaptive" else ([1, 1, 1],):
        assert largest_error(source, result.path, keep=keep) < 0.1


@pytest.mark.parametrize("mode", ["dynamic", "static"])
def test_a_fused_adaptive_graph(mode: str, adaptive_graph, adaptive, make_context: Make, tmp_path: Path) -> None:
    context = make_context(checkpoint=adaptive)
    fused = fuse(adaptive_graph, tmp_path / "fused.onnx", FuseSettings(), context).path
    result = run(fused, tmp_path / "out.onnx", settings(mode=mode), context)
    assert result.notes["quantized"] == PRODUCTS
    assert largest_error(adaptive_graph, result.path, keep=[0.9, 0.6, 0.3]) < 0.1


def test_only_products_read_dequantized_activations(stock_graph, make_context: Make, tmp_path: Path) -> None:
    path = run(stock_graph, tmp_path / "out.onnx", settings(mode="static", layout="qdq"), make_context()).path
    graph = onnx.load(path).graph
    dequantized = {node.output[0] for node in graph.node if node.op_type == "DequantizeLinear"}
    assert {node.op_type for node in graph.node if dequantized & set(node.input)} == {"MatMul"}


@pytest.mark.parametrize("provider", ["CPUExecutionProvider", "TensorrtExecutionProvider"])
def test_static_layouts_compute_the_same(provider: str, stock_graph, make_context: Make, tmp_path: Path) -> None:
    """Q/DQ pairs for other providers; on the CPU the same numbers by integer products with their bias."""
    device = make_device(providers=[Provider(name=provider)], number_format="static_int8")
    result = run(stock_graph, tmp_path / "out.onnx", settings(), make_context(device=device))
    pairs = run(stock_graph, tmp_path / "qdq.onnx", settings(mode="static", layout="qdq"), make_context()).path
    assert result.notes["quantized"] == PRODUCTS
    types = node_types(result.path)
    if provider == "CPUExecutionProvider":
        assert "DequantizeLinear" not in types
        assert types.count("Add") < node_types(pairs).count("Add")
        assert largest_error(pairs, result.path) < 0.02
    else:
        assert types.count("DequantizeLinear") > PRODUCTS
        assert result.path.read_bytes() == pairs.read_bytes()


def test_signed_activations_become_unsigned_without_a_change(stock_graph, make_context: Make, tmp_path: Path) -> None:
    chosen = settings(mode="static", layout="qdq", activation_signed=True, activation_symmetric=True)
    model = onnx.load(run(stock_graph, tmp_path / "pairs.onnx", chosen, make_context()).path)
    results = {}
    for signed in (True, False):
        copy = onnx.ModelProto()
        copy.CopyFrom(model)
        assert to_integer_products(copy, signed=signed) == PRODUCTS
        onnx.save(copy, tmp_path / "out.onnx")
        results[signed] = run_graph(tmp_path / "out.onnx")["start_logits"]
        kinds = {t.data_type for t in copy.graph.initializer if t.name.endswith("zero_point") and not t.dims}
        assert kinds == {onnx.TensorProto.INT8 if signed else onnx.TensorProto.UINT8}
    assert np.abs(results[True] - results[False]).max() < 1e-5


def test_the_cpu_provider_computes_no_wide_product_in_float(
    adaptive_graph, adaptive, make_context: Make, tmp_path: Path
) -> None:
    """Read back from what ONNX Runtime really executes, after its own optimisations."""
    context = make_context(checkpoint=adaptive)
    fused = fuse(adaptive_graph, tmp_path / "fused.onnx", FuseSettings(), context).path
    for mode in ("dynamic", "static"):
        path = run(fused, tmp_path / f"{mode}.onnx", settings(mode=mode), context).path
        options = onnxruntime.SessionOptions()
        options.optimized_model_filepath = str(tmp_path / f"{mode}-optimized.onnx")
        onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        model = onnx.load(options.optimized_model_filepath)
        floats = {
            t.name for t in model.graph.initializer if t.data_type == 1 and len(t.dims) == 2 and min(t.dims) >= 16
        }
        products = [node for node in model.graph.node if node.op_type in ("MatMul", "Gemm", "FusedMatMul", "FusedGemm")]
        dequantized = {node.output[0] for node in model.graph.node if node.op_type == "DequantizeLinear"}
        assert [node.name for node in products if node.input[1] in floats | dequantized] == []


def test_the_dial_and_the_metadata_survive(adaptive_graph, make_context: Make, tmp_path: Path) -> None:
    for mode in ("dynamic", "static"):
        result = run(adaptive_graph, tmp_path / f"{mode}.onnx", settings(mode=mode), make_context())
        assert dial.default(result.path) == [1.0] * LAYERS
        assert dial.kind(onnx.load(result.path)) == "optional"
        assert metadata.read(result.path) == metadata.read(adaptive_graph)
        assert {entry.key for entry in onnx.load(result.path).metadata_props} == {
            entry.key for entry in onnx.load(adaptive_graph).metadata_props
        }


def test_the_source_is_not_changed_and_the_result_is_the_same_again(stock_graph, make_context: Make, tmp_path) -> None:
    before = stock_graph.read_bytes()
    first = run(stock_graph, tmp_path / "a.onnx", settings(mode="static"), make_context()).path
    second = run(stock_graph, tmp_path / "b.onnx", settings(mode="static"), make_context()).path
    assert stock_graph.read_bytes() == before
    assert first.read_bytes() == second.read_bytes()
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["a.onnx", "b.onnx"]


def test_excluded_nodes_and_narrow_ones_stay_float(stock_graph, make_context: Make, tmp_path: Path) -> None:
    names = [node.name for node in onnx.load(stock_graph).graph.node if "intermediate" in node.name]
    assert len(names) >= LAYERS
    result = run(stock_graph, tmp_path / "out.onnx", settings(exclude=["*intermediate*"]), make_context())
    assert result.notes["quantized"] == PRODUCTS - LAYERS
    assert (32, 64) in float_weights(result.path)
    every = run(stock_graph, tmp_path / "all.onnx", settings(smallest_width=1, smooth="off"), make_context())
    assert every.notes["quantized"] == PRODUCTS + 1
    assert every.notes["float32"] == []


def test_the_fused_attention_of_onnxruntime_is_dynamic_only(stock_graph, make_context: Make, tmp_path: Path) -> None:
    context = make_context()
    fused = fuse(stock_graph, tmp_path / "fused.onnx", FuseSettings(layout="onnxruntime"), context).path
    dynamic = run(fused, tmp_path / "dynamic.onnx", settings(mode="dynamic"), context)
    assert node_types(dynamic.path).count("QAttention") == LAYERS
    static = run(fused, tmp_path / "static.onnx", settings(mode="static"), context)
    assert static.notes["quantized"] == static.notes["wanted"] == 3 * LAYERS
    assert len(static.notes["float32"]) == LAYERS + 1


@pytest.mark.parametrize("mode", ["dynamic", "static"])
def test_products_in_branches(mode: str, make_context: Make, tmp_path: Path) -> None:
    """Dynamic quantization reaches into an If, static leaves its bodies as they are and says so."""
    random = np.random.default_rng(0)
    model = onnx.parser.parse_model(
        """
        <ir_version: 8, opset_import: ["" : 17]>
        toy (int64[b, n] input_ids, int64[b, n] attention_mask) => (float[b, n, 64] logits)
        {
            x = Gather (table, input_ids)
            y = MatMul (x, outside)
            total = ReduceSum <keepdims = 0> (attention_mask)
            limit = Constant <value_int = 1000> ()
            few = Less (total, limit)
            logits = If (few) <
                then_branch = then () => (float[b, n, 64] a) { a = MatMul (y, inside) },
                else_branch = other () => (float[b, n, 64] c) { c = Identity (y) }
            >
        }
        """
    )
    for name, rows in (("table", 70), ("outside", 64)):
        weights = random.normal(size=(rows, 64)).astype(np.float32)
        model.graph.initializer.append(numpy_helper.from_array(weights, name))
    branches = [entry.g for node in model.graph.node if node.op_type == "If" for entry in node.attribute]
    branch = next(graph for graph in branches if graph.name == "then")
    branch.initializer.append(numpy_helper.from_array(weights, "inside"))
    onnx.save(model, tmp_path / "in.onnx")
    result = run(tmp_path / "in.onnx", tmp_path / "out.onnx", settings(mode=mode), make_context())
    assert result.notes["quantized"] == (2 if mode == "dynamic" else 1)
    assert len(result.notes["float32"]) == (0 if mode == "dynamic" else 1)
    assert largest_error(tmp_path / "in.onnx", result.path) < 0.05


def test_per_channel_and_seven_bits(stock_graph, make_context: Make, tmp_path: Path) -> None:
    def codes(**values: Any) -> list[np.ndarray]:
        path = run(stock_graph, tmp_path / "out.onnx", settings(**values), make_context()).path
        return [numpy_helper.to_array(t) for t in onnx.load(path).graph.initializer if t.name.endswith("_quantized")]

    def scales(**values: Any) -> set[int]:
        path = run(stock_graph, tmp_path / "out.onnx", settings(**values), make_context()).path
        return {int(np.prod(t.dims)) for t in onnx.load(path).graph.initializer if t.name.endswith("_scale")}

    assert scales(per_channel=True) == {32, 64}
    assert scales(per_channel=False) == {1}
    assert all(np.abs(c.astype(int)).max() == 127 for c in codes(per_channel=True))
    assert all(60 <= np.abs(c.astype(int)).max() <= 64 for c in codes(per_channel=True, reduce_range=True))
    assert {c.dtype for c in codes(weight_type="uint8")} == {np.dtype(np.uint8)}


def test_static_activation_types(stock_graph, make_context: Make, tmp_path: Path) -> None:
    def zero_points(**values: Any) -> set[tuple[int, bool]]:
        path = run(
            stock_graph, tmp_path / "out.onnx", settings(mode="static", layout="qdq", **values), make_context()
        ).path
        model = onnx.load(path)
        tensors = {tensor.name: tensor for tensor in model.graph.initializer}
        found = [tensors[node.input[2]] for node in model.graph.node if node.op_type == "QuantizeLinear"]
        return {(tensor.data_type, bool(numpy_helper.to_array(tensor) == 0)) for tensor in found}

    unsigned, signed = onnx.TensorProto.UINT8, onnx.TensorProto.INT8
    assert zero_points(activation_signed=True, activation_symmetric=True) == {(signed, True)}
    assert (unsigned, False) in zero_points()
    assert {kind for kind, _ in zero_points()} == {unsigned}


@pytest.mark.parametrize("method", ["minmax", "percentile", "entropy"])
def test_calibration_in_batches_against_all_values_at_once(
    method: str, stock_graph, make_context: Make, tmp_path: Path
) -> None:
    model, context = onnx.load(stock_graph), make_context()
    chosen = settings(calibration=method, percentile=99.0, batch_size=3)
    feeds = calibration_feeds(model, chosen, context)
    nodes = [node for node in model.graph.node if node.op_type == "MatMul" and "dense" in node.name]
    tensors = [node.input[0] for node in nodes][:3]
    found = collect_ranges(model, tensors, feeds, chosen, symmetric=False, context=context, folder=tmp_path)
    for name in tensors:
        model.graph.output.append(onnx.helper.make_tensor_value_info(name, 1, None))
    onnx.save(model, tmp_path / "watched.onnx")
    session = open_session(tmp_path / "watched.onnx", make_device())
    for name in tensors:
        values = np.concatenate([session.run([name], feed)[0].ravel() for feed in feeds])
        low, high = (float(edge) for edge in found[name].range_value)
        if method == "minmax":
            assert (low, high) == pytest.approx((values.min(), values.max()), rel=1e-5)
        else:
            assert values.min() <= low < high <= values.max()
        if method == "percentile":
            step = float(2 * np.abs(values).max() / 2048)
            assert (low, high) == pytest.approx(tuple(np.percentile(values, [0.5, 99.5])), abs=3 * step)


def test_calibration_reads_only_its_part_at_full_length(adaptive_graph, make_context: Make, tmp_path, progress) -> None:
    chosen = settings(batch_size=2, samples=5)
    context = make_context(search=(), calibration=make_context().data.dev)
    feeds = calibration_feeds(onnx.load(adaptive_graph), chosen, context)
    assert all(np.array_equal(feed["keep"], np.ones(LAYERS, np.float32)) for feed in feeds)
    assert all(feed["input_ids"].shape[0] <= 2 for feed in feeds)
    run(adaptive_graph, tmp_path / "out.onnx", settings(mode="static", batch_size=2, samples=5), make_context())
    assert progress.bars["calibrating"][0] == len(progress.bars["calibrating"]) - 1 > 1


@given(np_st.arrays(np.float32, (5, 8), elements=st.floats(-100, 100, width=32)))
def test_embedding_rows_are_within_half_a_step(table: np.ndarray) -> None:
    codes, scales = quantize_rows(table)
    assert codes.dtype == np.int8
    assert np.all(np.abs(codes * scales - table) <= np.abs(table).max(axis=1, keepdims=True) / 127 * 0.5001 + 1e-30)


@given(np_st.arrays(np.float32, (5, 7), elements=st.floats(-100, 100, width=32)))
def test_embedding_blocks_of_an_odd_width(table: np.ndarray) -> None:
    codes, scales = quantize_blocks(table)
    assert codes.shape == (5, 4) and scales.shape == (5, 1)
    numbers = np.concatenate([codes % 16, codes >> 4], axis=1).astype(np.float32) - 8
    assert np.all(numbers[:, 7] == 0)
    steps = np.abs(table).max(axis=1, keepdims=True) / 7
    assert np.all(np.abs(numbers[:, :7] * scales - table) <= steps * 0.5001 + 1e-30)


@pytest.mark.parametrize("width", [7, 8])
def test_a_look_up_in_four_bits(width: int, tmp_path: Path) -> None:
    """Against the table in numpy; of an odd width, as factorized embeddings can have, the fill is cut off again."""
    table = np.random.default_rng(0).normal(size=(80, width)).astype(np.float32)
    text = """<ir_version: 8, opset_import: ["" : 17]>
        toy (int64[b, n] input_ids) => (float[b, n, w] rows) { rows = Gather (table, input_ids) }"""
    model = onnx.parser.parse_model(text)
    model.graph.initializer.append(numpy_helper.from_array(table, "table"))
    assert quantize_embeddings(model, "int4")["bits"] == 4
    onnx.checker.check_model(model, full_check=True)
    ids = np.arange(80, dtype=np.int64).reshape(2, 40)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    rows = session.run(None, {"input_ids": ids})[0]
    steps = np.abs(table).max(axis=1, keepdims=True) / 7
    assert rows.shape == (2, 40, width)
    assert np.all(np.abs(rows - table[ids]) <= steps[ids] * 0.5001)


@given(np_st.arrays(np.float32, (5, 64), elements=st.floats(-100, 100, width=32)))
def test_embedding_blocks_are_within_half_a_step(table: np.ndarray) -> None:
    codes, scales = quantize_blocks(table)
    assert codes.dtype == np.uint8 and codes.nbytes * 2 == table.size and scales.shape == (5, 2)
    numbers = np.concatenate([codes % 16, codes >> 4], axis=1).astype(np.float32) - 8
    steps = np.repeat(np.abs(table).reshape(5, 2, 32).max(axis=2), 32, axis=1) / 7
    assert np.all(np.abs(numbers * np.repeat(scales, 32, axis=1) - table) <= steps * 0.5001 + 1e-30)


@pytest.mark.parametrize(("bits", "error"), [("int8", 0.1), ("int4", 0.5)])
@pytest.mark.parametrize("mode", ["dynamic", "static"])
def test_embeddings_of_few_bits(
    mode: str, bits: str, error: float, stock_graph, make_context: Make, tmp_path: Path
) -> None:
    kept = run(stock_graph, tmp_path / "kept.onnx", settings(mode=mode, embeddings="keep"), make_context())
    small = run(stock_graph, tmp_path / "small.onnx", settings(mode=mode, embeddings=bits), make_context())
    assert (65, 32) in float_weights(kept.path)
    assert (65, 32) not in float_weights(small.path)
    assert small.notes["embeddings"]["rows"] == 65
    saved = kept.notes["bytes_after"] - small.notes["bytes_after"]
    assert saved == pytest.approx(small.notes["embeddings"]["bytes_saved"], abs=4000)  # the look-up has more nodes
    assert 0 < largest_error(stock_graph, small.path) < error


@pytest.mark.parametrize(
    ("number_format", "expected"),
    [("dynamic_int8", "dynamic"), ("static_int8", "static"), ("float16", "float16"), ("float32", "none")],
)
def test_the_profile_decides_the_mode(number_format: str, expected: str) -> None:
    assert resolve(settings(), make_device(number_format=number_format)).mode == expected


def test_the_profile_fills_in_what_settings_leave_open() -> None:
    device = make_device(
        number_format="static_int8", activation_signed=True, activation_symmetric=True, reduce_range=True,
        per_channel=False,
    )  # fmt: skip
    scheme = resolve(settings(activation_symmetric=False), device)
    assert (scheme.activation_signed, scheme.activation_symmetric) == (True, False)
    assert (scheme.reduce_range, scheme.per_channel, scheme.backend) == (True, False, "onnxruntime")
    assert resolve(settings(backend="nncf"), make_device()).mode == "static"
    assert resolve(settings(max_drop=0.5), make_device()).backend == "nncf"


def test_float16_devices_get_a_cast_and_float32_ones_a_copy(stock_graph, make_context: Make, tmp_path: Path) -> None:
    half = run(stock_graph, tmp_path / "a.onnx", settings(), make_context(device=make_device(number_format="float16")))
    assert half.notes["scheme"] == "float16"
    same = run(stock_graph, tmp_path / "b.onnx", settings(), make_context(device=make_device(number_format="float32")))
    assert same.path.read_bytes() == stock_graph.read_bytes()
    assert "nothing was quantized" in same.notes["note"]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"backend": "onnxruntime", "max_drop": 1.0}, "max_drop needs backend: nncf"),
        ({"backend": "nncf", "mode": "dynamic"}, "quantizes statically only"),
        ({"backend": "nncf", "weight_type": "uint8"}, "int8 weights only"),
    ],
)
def test_contradicting_settings(values: dict[str, Any], message: str) -> None:
    with pytest.raises(RequestError, match=message):
        resolve(settings(**values), make_device())


@pytest.mark.parametrize(
    ("number_format", "values", "message"),
    [
        ("static_int8", {"backend": "nncf", "calibration": "mse"}, "calibration would have no effect: NNCF chooses"),
        ("dynamic_int8", {"max_drop": 1.0, "percentile": 99.0}, "percentile would have no effect: NNCF chooses"),
        ("static_int8", {"mode": "dynamic", "calibration": "minmax"}, "calibration would .* finds its ranges in each"),
        ("dynamic_int8", {"percentile": 99.0}, "percentile would have no effect: .* or use mode: static"),
        ("float16", {"embeddings": "int4"}, "embeddings would have no effect: the device 'toy' is fast at float16"),
        ("float16", {"exclude": ["*"]}, "exclude would have no effect"),
        ("float32", {"smooth": "on"}, "smooth would have no effect: the device 'toy' is fast at float32"),
        ("float32", {"calibration": "mse"}, "calibration would have no effect: the device .* choose mode"),
    ],
)
def test_settings_that_no_run_would_read(
    number_format: str, values: dict[str, Any], message: str, stock_graph, make_context: Make, tmp_path: Path
) -> None:
    device = make_device(number_format=number_format)
    with pytest.raises(RequestError, match=message):
        run(stock_graph, tmp_path / "out.onnx", settings(**values), make_context(device=device))


@pytest.mark.parametrize(
    ("number_format", "values"),
    [
        ("static_int8", {"calibration": "mse", "smooth": "on", "exclude": ["a"], "embeddings": "int4"}),
        ("dynamic_int8", {"backend": "nncf", "smooth": "on", "exclude": ["a"], "embeddings": "int4"}),
        ("dynamic_int8", {"smooth": "on", "exclude": ["a"], "embeddings": "int4"}),
        ("float16", {"mode": "static", "calibration": "entropy", "embeddings": "int8"}),
        ("float32", {"smooth": "off", "embeddings": "keep"}),
    ],
)
def test_settings_that_a_run_reads(number_format: str, values: dict[str, Any]) -> None:
    check_unread(settings(**values), make_device(number_format=number_format))


def test_an_unknown_exclude_names_near_nodes(stock_graph, make_context: Make, tmp_path: Path) -> None:
    with pytest.raises(
        RequestError, match=re.escape("exclude 'intermediat/dense*' fits no node that the pass would change")
    ) as error:
        run(stock_graph, tmp_path / "out.onnx", settings(exclude=["intermediat/dense*"]), make_context())
    assert "intermediate/dense" in str(error.value)


def test_static_without_calibration_data(stock_graph, make_context: Make, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="static int8 needs calibration data.*use mode: dynamic"):
        run(stock_graph, tmp_path / "out.onnx", settings(mode="static"), make_context(calibration=()))


def test_twice(stock_graph, make_context: Make, tmp_path: Path) -> None:
    for mode in ("dynamic", "static"):
        once = run(stock_graph, tmp_path / f"{mode}.onnx", settings(mode=mode), make_context()).path
        with pytest.raises(PassError, match="is quantized already"):
            run(once, tmp_path / "twice.onnx", settings(), make_context())


def test_nothing_left_to_quantize(stock_graph, make_context: Make, tmp_path: Path) -> None:
    with pytest.raises(PassError, match="no product with constant float32 weights left"):
        run(stock_graph, tmp_path / "out.onnx", settings(exclude=["*"]), make_context())


def test_a_graph_too_small_to_shrink(make_context: Make, tmp_path: Path) -> None:
    model = onnx.parser.parse_model(
        """
        <ir_version: 8, opset_import: ["" : 17]>
        toy (int64[b, n] input_ids) => (float[b, n, 2] logits)
        {
            x = Gather (table, input_ids)
            logits = MatMul (x, w)
        }
        """
    )
    for name in ("table", "w"):
        model.graph.initializer.append(numpy_helper.from_array(np.ones((2, 2), np.float32), name))
    onnx.save(model, tmp_path / "tiny.onnx")
    with pytest.raises(PassError, match="the file grew from"):
        run(tmp_path / "tiny.onnx", tmp_path / "out.onnx", settings(smallest_width=1, smooth="off"), make_context())


def test_embeddings_are_int8_by_default_where_they_can_be(make_context: Make, stock_graph, tmp_path: Path) -> None:
    assert run(stock_graph, tmp_path / "small.onnx", settings(), make_context()).notes["embeddings"]["rows"] == 65


def test_embeddings_that_are_not_a_plain_lookup(make_context: Make, stock_graph, tmp_path: Path) -> None:
    model = onnx.load(stock_graph)
    model.graph.input[0].name = "other_ids"
    for node in model.graph.node:
        node.input[:] = ["other_ids" if name == "input_ids" else name for name in node.input]
    onnx.save(model, tmp_path / "other.onnx")
    with pytest.raises(PassError, match="found no word embeddings"):
        run(tmp_path / "other.onnx", tmp_path / "out.onnx", settings(embeddings="int8"), make_context())
    assert (
        run(tmp_path / "other.onnx", tmp_path / "out.onnx", settings(smooth="off"), make_context()).notes["embeddings"]
        is None
    )
