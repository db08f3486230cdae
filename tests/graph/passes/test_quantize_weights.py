"""The pass `quantize_weights`: the quantizer's numbers in the graph, bit for bit, and what is refused."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from onnxruntime import InferenceSession

from compressor.config.device import Provider
from compressor.config.schema import parse
from compressor.errors import PassError, RequestError
from compressor.graph import dial
from compressor.graph.context import PassContext
from compressor.graph.export import export
from compressor.graph.passes.cast.cast import run as cast
from compressor.graph.passes.cast.settings import CastSettings
from compressor.graph.passes.fuse.fuse import run as fuse
from compressor.graph.passes.fuse.settings import FuseSettings
from compressor.graph.passes.nodes import name_nodes, products
from compressor.graph.passes.quantize.quantize import run as quantize
from compressor.graph.passes.quantize.settings import QuantizeSettings
from compressor.graph.passes.quantize_weights import neural_compressor_backend
from compressor.graph.passes.quantize_weights.blocks import Blocks, pack, unpack
from compressor.graph.passes.quantize_weights.carry import carried, carry
from compressor.graph.passes.quantize_weights.nncf_backend import nncf_blocks
from compressor.graph.passes.quantize_weights.quantize_weights import run
from compressor.graph.passes.quantize_weights.requirements import check_structure
from compressor.graph.passes.quantize_weights.settings import QuantizeWeightsSettings
from compressor.graph.registry import pass_spec, run_pass
from compressor.models import checkpoint
from compressor.models.kinds.adaptive_depth import make_adaptive_depth
from compressor.models.structure import AdaptiveDepth, SharedLayers, Structure
from compressor.stages.context import Checkpoint
from compressor.training import predict
from tests.graph.passes.conftest import LAYERS, as_json, make_device, node_types, run_graph
from tests.stages.distill.conftest import make_checkpoint, make_examples, tiny_task

PRODUCTS = 6 * LAYERS
Make = Callable[..., PassContext]


def settings(**values: Any) -> QuantizeWeightsSettings:
    return parse(QuantizeWeightsSettings, {"block_size": 16, **values}, where="recipe.passes.quantize_weights")


def made_up(rows: int, columns: int, bits: int, size: int, *, zero: bool, seed: int) -> Blocks:
    random = np.random.default_rng(seed)
    count = -(-columns // size)
    return Blocks(
        integers=random.integers(0, 2**bits, (rows, columns)).astype(np.uint8),
        scales=random.uniform(0.01, 1, (rows, count)).astype(np.float32),
        zero_points=random.integers(0, 2**bits, (rows, count)).astype(np.uint8) if zero else None,
        bits=bits,
        size=size,
    )


@hypothesis_settings(deadline=None, max_examples=40)
@given(
    rows=st.integers(1, 9), columns=st.integers(1, 70), bits=st.sampled_from([4, 8]), size=st.sampled_from([16, 32]),
    zero=st.booleans(), seed=st.integers(0, 99),
)  # fmt: skip
def test_packing_loses_nothing(rows: int, columns: int, bits: int, size: int, zero: bool, seed: int) -> None:
    blocks = made_up(rows, columns, bits, size, zero=zero, seed=seed)
    back = unpack(pack(blocks), bits=bits, size=size, columns=columns)
    assert np.array_equal(back.integers, blocks.integers)
    assert np.array_equal(back.scales, blocks.scales)
    assert (back.zero_points is None) == (blocks.zero_points is None)
    if zero:
        assert np.array_equal(back.zero_points, blocks.zero_points)
    for row in range(rows):  # the definition, number by number
        for column in range(columns):
            middle = blocks.zero_points[row, column // size] if blocks.zero_points is not None else 2 ** (bits - 1)
            expected = (float(blocks.integers[row, column]) - float(middle)) * blocks.scales[row, column // size]
            assert blocks.weights()[row, column] == np.float32(expected)


@pytest.mark.parametrize("zero", [True, False])
@pytest.mark.parametrize("bits", [4, 8])
def test_onnxruntime_multiplies_by_these_weights(bits: int, zero: bool, tmp_path: Path) -> None:
    """Also where a column is no whole number of blocks, and in a branch of an If."""
    blocks = made_up(24, 40, bits, 16, zero=zero, seed=1)
    weight = numpy_helper.from_array(np.ascontiguousarray(blocks.weights().T), "w")
    branches = {
        name: helper.make_graph(
            [helper.make_node("MatMul", ["x", "w"], ["y"], name=f"{name}/product")], name, [],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        )
        for name in ("then_branch", "else_branch")
    }  # fmt: skip
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["outside"], name="product"),
        helper.make_node("If", ["on"], ["inside"], name="if", **branches),
    ]
    floats = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [3, 40])]
    outputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [3, 24]) for name in ("outside", "inside")]
    inputs = [*floats, helper.make_tensor_value_info("on", TensorProto.BOOL, [])]
    graph = helper.make_graph(nodes, "toy", inputs, outputs, [weight])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    carry(model, products(model), {"w": blocks}, "float32")
    onnx.save(model, tmp_path / "toy.onnx")
    assert node_types(tmp_path / "toy.onnx").count("MatMulNBits") == 3
    assert [t.name for t in model.graph.initializer if t.name == "w"] == []
    x = np.random.default_rng(0).normal(size=(3, 40)).astype(np.float32)
    session = InferenceSession(str(tmp_path / "toy.onnx"), providers=["CPUExecutionProvider"])
    for on in (True, False):
        for found in session.run(None, {"x": x, "on": np.asarray(on)}):
            expected = x @ blocks.weights().T
            assert np.abs(found - expected).max() < 1e-5 * np.abs(expected).max()


WEIGHTS = {
    "a": np.random.default_rng(0).normal(size=(48, 20)).astype(np.float32),
    "b": np.random.default_rng(1).normal(size=(40, 32)).astype(np.float32),  # no whole number of blocks
}


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("backend", ["neural_compressor", "nncf"])
def test_rounding_to_nearest(backend: str, bits: int, symmetric: bool) -> None:
    asked = settings(bits=bits, symmetric=symmetric, backend=backend)
    quantizer = nncf_blocks if backend == "nncf" else neural_compressor_backend.rounded
    found = quantizer(WEIGHTS, asked)
    for name, array in WEIGHTS.items():
        assert (found[name].zero_points is None) == symmetric
        assert found[name].integers.shape == array.T.shape
        step = np.repeat(found[name].scales.astype(np.float32), 16, axis=1)[:, : array.shape[0]]
        error = np.abs(found[name].weights() - array.T) / step
        assert error.max() < 1.01  # at an end of the range more than half a step
        assert np.median(error) < 0.3


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("bits", [4, 8])
def test_the_numbers_are_neural_compressors_own(bits: int, symmetric: bool) -> None:
    """Integers, scales and zero points; and the weights that its layer makes of them, in float16 as it does."""
    from neural_compressor.torch.algorithms.weight_only.utility import quant_tensor
    from neural_compressor.torch.quantization import RTNConfig, convert, prepare

    linear = torch.nn.Linear(48, 20, bias=False)
    linear.weight.data = torch.from_numpy(WEIGHTS["a"].T.copy())
    scheme = "sym" if symmetric else "asym"
    integers, scales, zero = quant_tensor(
        linear.weight.data.clone(), bits=bits, group_size=16, scheme=scheme, return_int=True
    )
    ours = neural_compressor_backend.rounded({"a": WEIGHTS["a"]}, settings(bits=bits, symmetric=symmetric))["a"]
    ours = unpack(pack(ours), bits=bits, size=16, columns=48)
    middle = 2 ** (bits - 1) if symmetric else 0
    assert np.array_equal(ours.integers, integers.numpy().astype(np.int16) + middle)
    assert np.array_equal(ours.scales, scales.numpy().astype(np.float16))
    if not symmetric:
        assert np.array_equal(ours.zero_points, zero.numpy().astype(np.uint8))
    if (bits, symmetric) != (8, False):  # where its own way back overflows
        config = RTNConfig(bits=bits, use_sym=symmetric, group_size=16, use_layer_wise=False, quant_lm_head=True)
        theirs = convert(prepare(torch.nn.Sequential(linear), config))[0].recover().numpy()
        assert np.array_equal(ours.weights().astype(np.float16), theirs)


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("bits", [4, 8])
def test_the_numbers_are_nncfs_own(bits: int, symmetric: bool, tmp_path: Path) -> None:
    """NNCF's own graph, with its DequantizeLinear, multiplies by the same weights."""
    from compressor.graph.passes.quantize_weights.nncf_backend import _products
    from compressor.quiet import load_nncf

    nncf = load_nncf()
    mode = getattr(nncf.CompressWeightsMode, f"INT{bits}_{'SYM' if symmetric else 'ASYM'}")
    groups = {"group_size": 16, "all_layers": True} if bits == 4 else {}
    graph = nncf.compress_weights(_products({"a": WEIGHTS["a"]}, 16), mode=mode, **groups)
    theirs = onnx.reference.ReferenceEvaluator(graph).run(None, {"x0": np.eye(48, dtype=np.float32)})[0]
    ours = nncf_blocks({"a": WEIGHTS["a"]}, settings(bits=bits, symmetric=symmetric, backend="nncf"))["a"]
    assert np.array_equal(unpack(pack(ours), bits=bits, size=16, columns=48).weights().T, theirs)


@pytest.mark.parametrize("kind", ["stock", "adaptive", "first"])
@pytest.mark.parametrize("fused", [True, False])
def test_every_wide_product_of_a_graph(
    kind: str, fused: bool, request: Any, make_context: Make, folder: Path, tmp_path: Path
) -> None:
    """The graph that carries the numbers computes what the float graph with the dequantized weights computes."""
    source = request.getfixturevalue(f"{kind}_graph")
    name = "first" if kind == "first" else kind
    context = make_context(checkpoint=Checkpoint(folder / name, name))
    if fused:
        source = fuse(source, tmp_path / "fused.onnx", FuseSettings(), context).path
    result = run(source, tmp_path / "out.onnx", settings(embeddings="keep"), context)
    notes = as_json(result.notes)
    assert (notes["quantized"], notes["products"]) == (PRODUCTS, PRODUCTS + 1)
    assert node_types(result.path).count("MatMulNBits") == PRODUCTS
    reference = onnx.load(source)
    name_nodes(reference)
    found = carried(onnx.load(result.path))
    tensors = {tensor.name: tensor for tensor in reference.graph.initializer}
    for product in products(reference):
        if product.node.name in found:
            weights = np.ascontiguousarray(found[product.node.name].weights().T)
            assert np.abs(weights - numpy_helper.to_array(tensors[product.weight])).max() > 0
            tensors[product.weight].CopyFrom(numpy_helper.from_array(weights, product.weight))
    onnx.save(reference, tmp_path / "reference.onnx")
    for keep in ([1, 1, 1], [0.9, 0.5, 0.3]) if kind != "stock" else ([1, 1, 1],):
        ours, theirs = (run_graph(path, keep=keep) for path in (result.path, tmp_path / "reference.onnx"))
        for output in ours:
            assert np.abs(ours[output] - theirs[output]).max() < 1e-3 * np.ptp(theirs[output])
    if kind == "adaptive":
        assert dial.default(result.path) == [1.0] * LAYERS


@pytest.mark.parametrize(("method", "symmetric"), [("gptq", True), ("gptq", False), ("awq", True)])
def test_methods_that_read_data(
    method: str, symmetric: bool, adaptive_graph: Path, adaptive: Any, stock: Any, make_context: Make, tmp_path: Path
) -> None:
    """On a fused graph with a dial, whose weights are found by their values."""
    context = make_context(checkpoint=adaptive)
    fused = fuse(adaptive_graph, tmp_path / "fused.onnx", FuseSettings(), context).path
    result = run(fused, tmp_path / "out.onnx", settings(method=method, symmetric=symmetric), context)
    assert result.notes["quantized"] == PRODUCTS
    rounded = run(fused, tmp_path / "rtn.onnx", settings(symmetric=symmetric), context)
    ours, theirs = (carried(onnx.load(path)) for path in (result.path, rounded.path))
    assert ours.keys() == theirs.keys()
    if method == "gptq":  # what it promises: a smaller error of the layer's output on the calibration data
        model = checkpoint.load(stock.path, context.task)
        query, seen = model.bert.encoder.layer[0].attention.self.query, []
        hook = query.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0].reshape(-1, 32)))
        features = context.task.features(context.data.calibration, context.tokenizer, labelled=False)
        predict(model, features, context.tokenizer, 1)
        hook.remove()
        states, exact = torch.cat(seen).numpy(), query.weight.detach().numpy()
        graph = onnx.load(fused)
        name_nodes(graph)
        tensors = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.graph.initializer}
        name = next(p.node.name for p in products(graph) if np.array_equal(tensors[p.weight].T, exact))
        errors = [np.square(states @ (found[name].weights() - exact).T).mean() for found in (ours, theirs)]
        assert errors[0] < 0.9 * errors[1]
    else:
        assert node_types(result.path).count("Mul") > node_types(rounded.path).count("Mul")
    exact, found = (run_graph(path)["start_logits"].ravel() for path in (adaptive_graph, result.path))
    assert np.corrcoef(found, exact)[0, 1] > 0.8


@pytest.mark.parametrize("model_type", ["roberta", "distilbert", "electra"])
def test_gptq_of_every_family(model_type: str, make_context: Make, tmp_path: Path) -> None:
    task = tiny_task("text-classification")
    source = make_checkpoint(tmp_path / "model", task, model_type)
    export(source, task, tmp_path / "model.onnx", opset=17, dial="optional")
    base = make_context(task=task, checkpoint=source, tokenizer=checkpoint.load_tokenizer(source.path))
    examples = make_examples(task.name, 12)
    context = dataclasses.replace(base, data=dataclasses.replace(base.data, calibration=examples))
    result = run(tmp_path / "model.onnx", tmp_path / "out.onnx", settings(method="gptq"), context)
    outside = {"roberta": 1, "distilbert": 1, "electra": 2}[model_type]  # ELECTRA projects its embeddings
    assert len(result.notes["rounded"]) == outside and result.notes["quantized"] == 2 * 6 + outside
    assert len(result.notes["float32"]) == 1  # the two labels
    assert result.notes["share"] < 0.2


def test_exits_stay_float_and_stop_as_before(make_context: Make, tmp_path: Path) -> None:
    task = tiny_task("text-classification")
    source = make_checkpoint(tmp_path / "plain", task, layers=3)
    model = make_adaptive_depth(checkpoint.load(source.path, task), AdaptiveDepth(method="dact", setting=0.0))
    checkpoint.save(model, checkpoint.load_tokenizer(source.path), tmp_path / "exits")
    source = Checkpoint(tmp_path / "exits", "exits")
    export(source, task, tmp_path / "exits.onnx", opset=17, dial="optional")
    context = make_context(task=task, checkpoint=source)
    spec = pass_spec("quantize_weights")
    result = run_pass(spec, tmp_path / "exits.onnx", tmp_path / "out.onnx", settings(), context)
    assert result.notes["quantized"] >= 3 * 6
    assert not [name for name in carried(onnx.load(result.path)) if "exits" in name]
    ids = np.random.default_rng(0).integers(5, 39, (3, 12))
    feed = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
    answers = []
    for path in (tmp_path / "exits.onnx", result.path):
        session = InferenceSession(str(path), providers=["CPUExecutionProvider"])
        answers.append(session.run(["logits", "blocks_run"], feed))
    assert np.abs(answers[0][0] - answers[1][0]).max() > 0
    assert np.corrcoef(answers[0][0].ravel(), answers[1][0].ravel())[0, 1] > 0.9
    assert answers[1][1].shape == (3,) and answers[1][1].max() <= 3


@pytest.mark.parametrize(
    ("values", "highest"),
    [
        ({"block_size": 64}, 0.15),
        ({"block_size": 64, "symmetric": False}, 0.15),
        ({"block_size": 32}, 0.15),
        ({"block_size": 128, "backend": "nncf"}, 0.15),
        ({"block_size": 64, "bits": 8}, 0.27),
    ],
)
def test_the_share_of_the_encoders_weights(values: dict[str, Any], highest: float, make_context: Make, tmp_path: Path):
    """Of a model of 128 x 256, in bytes of the file."""
    task = tiny_task("question-answering")
    source = make_checkpoint(tmp_path / "wide", task, hidden=128)
    export(source, task, tmp_path / "wide.onnx", opset=17, dial="optional")
    result = run(tmp_path / "wide.onnx", tmp_path / "out.onnx", settings(**values), make_context(checkpoint=source))
    full = 4 * 2 * (4 * 128 * 128 + 2 * 128 * 256)
    tensors = onnx.load(result.path).graph.initializer
    parts = [t for t in tensors if t.name.rpartition("/")[2] in ("int4", "int8", "scales", "float16", "zero_points")]
    share = sum(len(tensor.raw_data) for tensor in parts) / full
    assert result.notes["share"] == pytest.approx(share, abs=1e-4)
    assert 0.1 < share <= highest


@pytest.mark.parametrize(("backend", "expected"), [("neural_compressor", 0.1406), ("nncf", 0.1562)])
def test_the_share_in_blocks_of_32(backend: str, expected: float, make_context: Make, tmp_path: Path) -> None:
    """Half a byte a weight and a scale a block: float16 by the one, float32 by the other."""
    task = tiny_task("question-answering")
    source = make_checkpoint(tmp_path / "wide", task, hidden=128)
    export(source, task, tmp_path / "wide.onnx", opset=17, dial="optional")
    chosen = settings(block_size=32, backend=backend)
    notes = run(tmp_path / "wide.onnx", tmp_path / "out.onnx", chosen, make_context(checkpoint=source)).notes
    assert notes["share"] == pytest.approx(expected, abs=1e-4)


def test_what_the_operator_rounds_activations_to(stock_graph, make_context: Make, tmp_path: Path) -> None:
    levels = {}
    for activations in ("float32", "int8"):
        path = run(
            stock_graph, tmp_path / f"{activations}.onnx", settings(activations=activations), make_context()
        ).path
        nodes = [node for node in onnx.load(path).graph.node if node.op_type == "MatMulNBits"]
        levels[activations] = {entry.i for node in nodes for entry in node.attribute if entry.name == "accuracy_level"}
    assert levels == {"float32": {1}, "int8": {4}}
    one, two = (run_graph(tmp_path / f"{name}.onnx")["start_logits"] for name in levels)
    assert np.abs(one - two).max() < 0.1 * np.ptp(one)


def test_only_one_number_format(stock_graph, make_context: Make, tmp_path: Path) -> None:
    context = make_context()
    once = run(stock_graph, tmp_path / "once.onnx", settings(), context).path
    with pytest.raises(PassError, match="quantize_weights: once.onnx is quantized already"):
        run(once, tmp_path / "twice.onnx", settings(), context)
    with pytest.raises(PassError, match="is quantized already"):
        quantize(once, tmp_path / "int8.onnx", QuantizeSettings(), context)
    with pytest.raises(PassError, match="is quantized"):
        cast(once, tmp_path / "half.onnx", CastSettings(), context)


def test_a_device_that_cannot_run_it(stock_graph, make_context: Make, tmp_path: Path) -> None:
    tensorrt = make_device(providers=[Provider(name="TensorrtExecutionProvider")])
    old, older = make_device(runtime_version="1.18.0"), make_device(runtime_version="1.14")
    for device, bits, message in (
        (tensorrt, 4, "no provider .TensorrtExecutionProvider. runs MatMulNBits"),
        (old, 8, "8 bits need ONNX Runtime 1.22.*use bits: 4"),
        (older, 4, "4 bits need ONNX Runtime 1.17.*use the pass quantize"),
    ):
        with pytest.raises(RequestError, match=message):
            run(stock_graph, tmp_path / "out.onnx", settings(bits=bits), make_context(device=device))
    run(stock_graph, tmp_path / "out.onnx", settings(), make_context(device=old))


def test_a_model_whose_layers_share_weights() -> None:
    structure = Structure(shared_layers=SharedLayers(layers=[0, 0]))
    with pytest.raises(RequestError, match="awq goes through the encoder's layers.*shared_layers.*use method: rtn"):
        check_structure(settings(method="awq"), structure)
    check_structure(settings(), structure)


def test_impossible_wishes(stock_graph, make_context: Make, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="NNCF has no gptq for ONNX graphs"):
        settings(backend="nncf", method="gptq")
    with pytest.raises(RequestError, match="gptq needs calibration data"):
        run(stock_graph, tmp_path / "out.onnx", settings(method="gptq"), make_context(calibration=()))
    with pytest.raises(RequestError, match="exclude 'nothing' fits no node"):
        run(stock_graph, tmp_path / "out.onnx", settings(exclude=["nothing"]), make_context())
    with pytest.raises(PassError, match="no product with constant float32 weights left"):
        run(stock_graph, tmp_path / "out.onnx", settings(exclude=["*"]), make_context())
