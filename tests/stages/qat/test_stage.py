"""The stage from checkpoint to int8 graph."""

from __future__ import annotations

import dataclasses
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from compressor.devices import profiles
from compressor.errors import RequestError
from compressor.foretell import refuse_the_impossible
from compressor.graph.context import PassContext
from compressor.graph.export import export
from compressor.graph.halves import cut
from compressor.graph.passes.fuse.settings import FuseSettings
from compressor.graph.passes.nodes import all_nodes, integer_products
from compressor.graph.passes.quantize.requirements import check_trained
from compressor.graph.passes.quantize.settings import QuantizeSettings
from compressor.graph.registry import pass_spec, run_pass
from compressor.models import checkpoint
from compressor.models.kinds.quantizers import make_quantizers, quantized_layers, unrounded_inputs
from compressor.models.kinds.split_layers import make_split_layers
from compressor.models.structure import LengthAdaptive, Quantizers, SplitLayers, Structure, with_structure
from compressor.stages.context import Checkpoint
from compressor.stages.qat import stage
from compressor.stages.qat.calibrate import percentiles
from compressor.stages.qat.settings import QatSettings
from compressor.stages.qat.shape import shape
from compressor.stages.registry import stage_spec
from compressor.training import collate
from compressor.validation.parity import compare
from tests.graph.exported import run_graph
from tests.stages.distill.conftest import make_checkpoint, make_context, make_examples, model_config, tiny_task
from tests.test_combinations import apply
from tests.tiny import request

TASK = tiny_task("text-classification")
LAYERS = 3
NARROW = 80.0
"""A percentile that cuts off so much that there is something to learn."""


def run(folder: Path, source: Checkpoint, **settings: Any) -> Checkpoint:
    """The stage with calibration examples, the source as its own teacher."""
    context = make_context(folder, TASK, source)
    context = replace(context, data=replace(context.data, calibration=make_examples(TASK.name, 8)))
    return stage.run(source, QatSettings(**{"batch_size": 8, "learning_rate": 1e-3, **settings}), context)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    return make_checkpoint(tmp_path_factory.mktemp("source"), TASK, layers=LAYERS)


@pytest.fixture(scope="module")
def trained(source: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    losses = {"logits": 1.0, "hidden": 1.0}
    folder = tmp_path_factory.mktemp("trained")
    return run(folder, source, epochs=12, range_learning_rate=0.1, percentile=NARROW, distill=losses)


def inputs_of(source: Checkpoint, count: int = 24) -> dict[str, torch.Tensor]:
    tokenizer = checkpoint.load_tokenizer(source.path)
    return collate(TASK.features(make_examples(TASK.name, count), tokenizer, labelled=True), tokenizer, TASK)[0]


def logits(model: Any, inputs: dict[str, torch.Tensor]) -> np.ndarray[Any, Any]:
    with torch.no_grad():
        return model(**inputs).logits.numpy()  # type: ignore[no-any-return]


def onnx_logits(path: Path, inputs: dict[str, torch.Tensor]) -> np.ndarray[Any, Any]:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    known = {entry.name for entry in session.get_inputs()}
    return session.run(None, {key: value.numpy() for key, value in inputs.items() if key in known})[0]  # type: ignore[no-any-return]


def context_of(trained: Checkpoint, **device: Any) -> PassContext:
    context = make_context(trained.path.parent, TASK, trained)
    profile = replace(context.device, number_format="dynamic_int8", **device)
    tokenizer = checkpoint.load_tokenizer(trained.path)
    return PassContext(
        checkpoint=trained,
        task=TASK,
        tokenizer=tokenizer,
        data=context.data,
        device=profile,
        seed=0,
        progress=context.progress,
    )


def to_graph(trained: Checkpoint, folder: Path, **device: Any) -> tuple[Path, PassContext]:
    """Exported and fused."""
    export(trained, TASK, folder / "plain.onnx", opset=17, dial="optional")
    context = context_of(trained, **device)
    run_pass(pass_spec("fuse"), folder / "plain.onnx", folder / "fused.onnx", FuseSettings(), context)
    return folder / "fused.onnx", context


def test_ranges_and_weights_learn_and_the_teacher_is_approached(
    source: Checkpoint, trained: Checkpoint, tmp_path: Path
) -> None:
    start = run(tmp_path, source, max_steps=1, learning_rate=1e-12, range_learning_rate=1e-12, percentile=NARROW)
    before, after, teacher = (checkpoint.load(one.path, TASK) for one in (start, trained, source))
    for name, layer in quantized_layers(after).items():
        first = quantized_layers(before)[name]
        assert not torch.equal(layer.input_range.width, first.input_range.width)
        assert not torch.equal(layer.input_range.low, first.input_range.low)
        assert not torch.equal(layer.weight, first.weight)
    inputs = inputs_of(source)
    wanted = logits(teacher, inputs)
    far = [np.abs(logits(model, inputs) - wanted).mean() for model in (after, before)]
    assert far[0] < far[1] / 2


def test_products_are_integers_and_agree_with_pytorch(trained: Checkpoint, tmp_path: Path) -> None:
    fused, context = to_graph(trained, tmp_path)
    result = run_pass(pass_spec("quantize"), fused, tmp_path / "int8.onnx", QuantizeSettings(), context)
    kinds = Counter(node.op_type for node in onnx.load(result.path).graph.node)
    assert kinds["MatMulIntegerToFloat"] == kinds["QuantizeLinear"] == 6 * LAYERS
    assert kinds["DequantizeLinear"] == 0
    assert result.notes["quantized"] == result.notes["wanted"] == 6 * LAYERS
    inputs = inputs_of(trained)
    expected = logits(checkpoint.load(trained.path, TASK), inputs)
    np.testing.assert_allclose(onnx_logits(result.path, inputs), expected, atol=0.02 * np.abs(expected).max())
    parity = compare(trained, tmp_path / "plain.onnx", TASK, context.tokenizer, make_examples(TASK.name, 12))
    assert parity.max_abs < 1e-4


def test_loud_channels_are_brought_down_before_they_are_rounded(source: Checkpoint, tmp_path: Path) -> None:
    model: Any = checkpoint.load(source.path, TASK)
    with torch.no_grad():
        model.bert.encoder.layer[1].attention.output.LayerNorm.weight[5] *= 25
    checkpoint.save(model, checkpoint.load_tokenizer(source.path), tmp_path / "loud")
    loud = Checkpoint(tmp_path / "loud", "loud")
    inputs = inputs_of(source)
    wanted, errors = logits(model.eval(), inputs), {}
    states = 2 * torch.rand(200, 32, generator=torch.Generator().manual_seed(0)) - 1
    states[:, 5] *= 20
    product = model.bert.encoder.layer[1].intermediate.dense(states)
    for smooth in (True, False):
        folder = tmp_path / str(smooth)
        folder.mkdir()
        still = {"max_steps": 1, "learning_rate": 1e-12, "range_learning_rate": 1e-12, "percentile": 100}
        result = run(folder, loud, smooth=smooth, **still)
        rounded: Any = checkpoint.load(result.path, TASK)
        layer = rounded.bert.encoder.layer[1].intermediate.dense
        assert layer.brings_down == smooth
        with unrounded_inputs(rounded):
            np.testing.assert_allclose(logits(rounded, inputs), wanted, atol=0.05 * np.abs(wanted).max())
        fused, context = to_graph(result, folder)
        graph = run_pass(pass_spec("quantize"), fused, folder / "int8.onnx", QuantizeSettings(), context).path
        errors[smooth] = (layer(states) - product).abs().mean().item()
        np.testing.assert_allclose(onnx_logits(graph, inputs), logits(rounded, inputs), atol=0.05)
    assert errors[True] < errors[False] / 2


@pytest.mark.parametrize("method", ["length_adaptive", "adaptive_depth"])
def test_products_are_integers_in_models_with_dials(method: str, trained: Checkpoint, tmp_path: Path) -> None:
    result = apply(method, trained, trained, tmp_path / "stage")
    fused, context = to_graph(result, tmp_path)
    graph = run_pass(pass_spec("quantize"), fused, tmp_path / "int8.onnx", QuantizeSettings(), context).path
    kinds = Counter(node.op_type for node in all_nodes(onnx.load(graph)))
    assert kinds["MatMulIntegerToFloat"] == 6 * LAYERS and kinds["DequantizeLinear"] == 0
    inputs = inputs_of(result, 6)
    expected = logits(checkpoint.load(result.path, TASK), inputs)
    np.testing.assert_allclose(onnx_logits(graph, inputs), expected, atol=0.02 * np.abs(expected).max())


def test_pairs_stay_where_the_device_reads_them(trained: Checkpoint, tmp_path: Path) -> None:
    fused, context = to_graph(trained, tmp_path)
    result = run_pass(pass_spec("quantize"), fused, tmp_path / "qdq.onnx", QuantizeSettings(layout="qdq"), context)
    graph = onnx.load(result.path)
    assert integer_products(graph) == 6 * LAYERS and not any(
        n.op_type == "MatMulIntegerToFloat" for n in graph.graph.node
    )
    int8 = [
        tensor
        for tensor in graph.graph.initializer
        if tensor.data_type == onnx.TensorProto.INT8 and len(tensor.dims) == 2
    ]
    assert len(int8) == 6 * LAYERS
    symmetric = dataclasses.replace(context, device=context_of(trained, activation_symmetric=True).device)
    with pytest.raises(RequestError, match="wants signed or symmetric activations"):
        run_pass(pass_spec("quantize"), fused, tmp_path / "no.onnx", QuantizeSettings(layout="qdq"), symmetric)


def test_a_device_of_another_number_format_is_named() -> None:
    jetson = profiles.load("jetson", [Path(__file__).parents[3] / "conf" / "device"])
    with pytest.raises(RequestError, match="the device 'jetson' is fast at float16, and the stage qat trains for int8"):
        check_trained(QuantizeSettings(), jetson)
    check_trained(QuantizeSettings(layout="integer"), jetson)


@pytest.mark.parametrize(
    "settings", [{"mode": "static"}, {"exclude": ["*query*"]}, {"smooth": "on"}, {"backend": "onnxruntime"}]
)
def test_what_training_settled_cannot_be_set_again(
    settings: dict[str, Any], trained: Checkpoint, tmp_path: Path
) -> None:
    fused, context = to_graph(trained, tmp_path)
    with pytest.raises(
        RequestError, match=f"{next(iter(settings))} cannot be set for a model that the stage qat trained"
    ):
        run_pass(pass_spec("quantize"), fused, tmp_path / "no.onnx", QuantizeSettings(**settings), context)


def test_training_goes_on_in_the_learned_ranges(trained: Checkpoint, tmp_path: Path) -> None:
    context = make_context(tmp_path, TASK, trained)  # without calibration data
    settings = QatSettings(max_steps=1, learning_rate=1e-12, range_learning_rate=1e-12, distill=None)
    again = checkpoint.load(stage.run(trained, settings, context).path, TASK)
    for name, layer in quantized_layers(checkpoint.load(trained.path, TASK)).items():
        torch.testing.assert_close(quantized_layers(again)[name].input_range.low, layer.input_range.low)


@pytest.mark.parametrize("structure", [Structure(), Structure(length_adaptive=LengthAdaptive(keep=[1.0, 0.8]))])
@pytest.mark.parametrize("model_type", ["bert", "roberta", "distilbert", "electra"])
def test_nothing_is_dropped_in_training(model_type: str, structure: Structure) -> None:
    config = {**model_config(model_type, 2, 32, 4), "hidden_dropout_prob": 0.5, "attention_probs_dropout_prob": 0.5}
    rates = {**config, "dropout": 0.5, "attention_dropout": 0.5}
    model: Any = checkpoint.build(with_structure(rates, structure), TASK).train()
    inputs = {"input_ids": torch.tensor([[2, 7, 8, 9, 3]]), "attention_mask": torch.ones(1, 5, dtype=torch.long)}
    assert not np.allclose(logits(model, inputs), logits(model, inputs))
    stage.without_dropout(model)
    np.testing.assert_array_equal(logits(model, inputs), logits(model, inputs))


def test_no_calibration_examples_are_refused(source: Checkpoint, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="ranges of activations start from calibration examples"):
        stage.run(source, QatSettings(max_steps=1), make_context(tmp_path, TASK, source))


def test_percentiles_leave_out_what_is_rare() -> None:
    states = torch.zeros(100, 100)
    states[0, 0], states[0, 1], states[1] = 1000.0, -1000.0, torch.linspace(-1, 2, 100)
    low, high = percentiles(states, 99.9)
    assert -1 <= low < 0 < high <= 2
    assert percentiles(states, 100) == (-1000.0, 1000.0)


def test_plan_knows_the_shape() -> None:
    config = model_config("bert", 3, 32, 4)
    after = Structure.from_config(shape(config, config, QatSettings(weight_bits=7)))
    assert after == Structure(quantizers=Quantizers(weight_bits=7, smoothed=True))
    plain = Structure.from_config(shape(config, config, QatSettings(smooth=False)))
    assert plain == Structure(quantizers=Quantizers())
    again = shape(with_structure(config, plain), config, QatSettings())
    assert Structure.from_config(again) == plain  # what rounds already goes on as it does


def test_wrong_settings_are_refused() -> None:
    with pytest.raises(RequestError, match="qat: distill: 'teachers' belongs to the stage itself"):
        QatSettings(distill={"teachers": ["x"]})
    config, other = model_config("bert", 3, 32, 4), model_config("bert", 3, 64, 4)
    with pytest.raises(RequestError):
        shape(config, other, QatSettings(distill={"cosine": 1.0}))


@pytest.mark.parametrize(
    "name", ["prune_widths", "low_rank", "share_layers", "squeeze", "prune_weights", "dynabert", "take_size"]
)
def test_matrices_do_not_change_after_it(name: str) -> None:
    with pytest.raises(RequestError, match=f"'{name}' cannot work on a model whose matrices are trained for int8"):
        stage_spec(name).check_structure(Structure(quantizers=Quantizers()), name)


@pytest.mark.parametrize(
    ("passes", "message"),
    [
        (["~recipe.passes.quantize", "recipe.passes.cast.pass=cast"], "cast: the stage qat has trained the model for"),
        (["recipe.passes.quantize.mode=static"], "mode cannot be set"),
    ],
)
def test_passes_that_do_not_fit_are_refused_before_any_work(
    passes: list[str], message: str, source: Checkpoint, tmp_path: Path
) -> None:
    asked = request("qat", tmp_path, "device=x86_avx512", *passes)
    with pytest.raises(RequestError, match=message):
        refuse_the_impossible(asked, checkpoint.read_config(source.path), to_measure=False)


def test_a_model_trained_for_int8_is_cut_in_two_as_any_other(source: Checkpoint, tmp_path: Path) -> None:
    model: Any = checkpoint.load(source.path, TASK)
    model.config.sep_token_id = 3
    make_quantizers(make_split_layers(model, SplitLayers(layers=1, second_position=8)), Quantizers())
    checkpoint.save(model, checkpoint.load_tokenizer(source.path), tmp_path / "split")
    export(Checkpoint(tmp_path / "split", "split"), TASK, tmp_path / "model.onnx", opset=17, dial="optional")
    halves = cut(tmp_path / "model.onnx", tmp_path, layers=1, width=model.config.hidden_size)
    ids = np.array([[2, 7, 8, 3]])
    inputs = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
    whole, states = (run_graph(path, inputs) for path in (tmp_path / "model.onnx", halves.lower))
    np.testing.assert_array_equal(run_graph(halves.upper, {"states": states[0], "attention_mask": 0 * ids + 1}), whole)
