"""Adaptive-depth graphs: the answers and layer counts of PyTorch, and nothing computed after the halt."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from compressor.graph import stopping
from compressor.graph.context import PassContext
from compressor.graph.export import export
from compressor.graph.passes.cast.settings import CastSettings
from compressor.graph.passes.fuse.settings import FuseSettings
from compressor.graph.passes.nodes import all_nodes, integer_products
from compressor.graph.passes.quantize.settings import QuantizeSettings
from compressor.graph.registry import pass_spec, run_pass
from compressor.models import checkpoint
from compressor.models.kinds.adaptive_depth import make_adaptive_depth
from compressor.models.kinds.length_adaptive import make_length_adaptive
from compressor.models.structure import AdaptiveDepth, LengthAdaptive
from compressor.progress import Silent
from compressor.stages.context import Checkpoint
from compressor.validation.parity import compare
from tests.graph.exported import FAMILIES
from tests.models.conftest import make_model
from tests.models.test_adaptive_depth import LAYERS, METHODS, SETTINGS, adaptive, number_model, numbers, ragged, several
from tests.stages.distill.conftest import make_context, make_examples, make_tokenizer, tiny_task

WORDS = [f"w{number}" for number in range(34)]
DIALS = {"dact": "margin", "deebert": "entropy_threshold", "pabee": "patience"}


def both_dials(method: str) -> Any:
    """A model with a length dial and exits."""
    model = make_model("bert", tiny_task("text-classification"), layers=LAYERS)
    lengths = LengthAdaptive(keep=[0.9, 0.6, 0.4, 0.3], restore=False, protect_first=True, significance="first")
    model = make_adaptive_depth(
        make_length_adaptive(model, lengths),
        AdaptiveDepth(method=method, setting=SETTINGS[method]),  # type: ignore[arg-type]
    ).eval()
    model.exits.load_state_dict(adaptive(method).exits.state_dict())
    return model


def exported(model: Any, folder: Path, task: Any = None, dial: str = "optional") -> tuple[Path, Checkpoint]:
    checkpoint.save(model, make_tokenizer(WORDS), folder / "checkpoint")
    source = Checkpoint(folder / "checkpoint", "key")
    export(source, task or tiny_task("text-classification"), folder / "plain.onnx", opset=17, dial=dial)
    return folder / "plain.onnx", source


def run(path: Path, ids: torch.Tensor, mask: torch.Tensor, **dials: list[float]) -> tuple[Any, Any]:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    feed = {"input_ids": ids.numpy(), "attention_mask": mask.numpy(), "token_type_ids": np.zeros_like(ids.numpy())}
    known = [entry.name for entry in session.get_inputs()]
    feed = {name: value for name, value in feed.items() if name in known}
    return session.run(["logits", "blocks_run"], {**feed, **{k: np.array(v, np.float32) for k, v in dials.items()}})


@pytest.mark.parametrize("method", METHODS)
@torch.no_grad()
def test_the_graph_of_a_model_with_few_exits(method: str, tmp_path: Path) -> None:
    model = adaptive(method, exits=[1, 3])
    path, source = exported(model, tmp_path)
    ids, mask = ragged()
    counts = set()
    fused = passed("fuse", path, source, tmp_path, FuseSettings())
    for setting in (0.0, 0.4, 1.0, 9.0):
        for graph in (path, fused):
            logits, blocks = run(graph, ids, mask, **{DIALS[method]: [setting]})
            expected = model(ids, mask, setting=setting)
            np.testing.assert_allclose(logits, expected.logits.numpy(), atol=1e-4)
            assert blocks.tolist() == expected.blocks_run.tolist()
        counts |= set(blocks.tolist())
    assert counts <= {1, 3, LAYERS} and len(counts) > 1


@pytest.mark.parametrize("lengths", [False, True])
@pytest.mark.parametrize("method", METHODS)
@torch.no_grad()
def test_the_graph_answers_as_pytorch_does(method: str, lengths: bool, tmp_path: Path) -> None:
    model = both_dials(method) if lengths else adaptive(method)
    path, _ = exported(model, tmp_path)
    onnx.checker.check_model(str(path))
    ids, mask = ragged()
    counts = set()
    for setting in (None, 0.0, 0.4, 1.0, 2.0, 9.0):
        logits, blocks = run(path, ids, mask, **({} if setting is None else {DIALS[method]: [setting]}))
        expected = model(ids, mask, setting=setting)
        np.testing.assert_allclose(logits, expected.logits.numpy(), atol=1e-4)
        assert blocks.tolist() == expected.blocks_run.tolist()
        counts |= set(blocks.tolist())
    assert len(counts) > 1


@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_every_family_with_several_labels(family: str, tmp_path: Path) -> None:
    task = several()
    model = adaptive("dact", family, task)
    path, _ = exported(model, tmp_path, task)
    ids, mask = ragged()
    counts = set()
    for margin in (0.0, 0.3, 0.7):
        logits, blocks = run(path, ids, mask, margin=[margin])
        expected = model(ids, mask, setting=margin)
        np.testing.assert_allclose(logits, expected.logits.numpy(), atol=1e-4)
        assert blocks.tolist() == expected.blocks_run.tolist()
        counts |= set(blocks.tolist())
    assert len(counts) > 1


@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_every_family_with_a_number(family: str, tmp_path: Path) -> None:
    model = number_model(family)
    path, _ = exported(model, tmp_path, numbers())
    onnx.checker.check_model(str(path))
    ids, mask = ragged()
    counts = set()
    for patience in (1.0, 2.0, 9.0):
        logits, blocks = run(path, ids, mask, patience=[patience])
        expected = model(ids, mask, setting=patience)
        np.testing.assert_allclose(logits, expected.logits.numpy(), atol=1e-4)
        assert blocks.tolist() == expected.blocks_run.tolist()
        counts |= set(blocks.tolist())
    assert logits.shape == (len(ids), 1)
    assert len(counts) > 1


def layers_computed(path: Path, folder: Path, setting: float) -> int:
    """How often ONNX Runtime ran a layer's feed-forward activation, as its profiler tells, for one row."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.enable_profiling = True
    options.profile_file_prefix = str(folder / "profile")
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    ids, mask = ragged(1)
    session.run(
        ["logits"],
        {
            "input_ids": ids.numpy(),
            "attention_mask": mask.numpy(),
            "token_type_ids": np.zeros_like(ids.numpy()),
            "entropy_threshold": np.array([setting], np.float32),
        },
    )
    events = json.loads(Path(session.end_profiling()).read_text())
    return sum(event["name"].endswith("kernel_time") and event["args"].get("op_name") == "Gelu" for event in events)


@torch.no_grad()
def test_layers_after_the_halt_are_not_computed(tmp_path: Path) -> None:
    model = adaptive("deebert")
    plain, source = exported(model, tmp_path)
    path = passed("fuse", plain, source, tmp_path, FuseSettings())
    for setting in (0.0, 0.3, 9.0):
        expected = int(model(*ragged(1), setting=setting).blocks_run[0])
        assert layers_computed(path, tmp_path, setting) == expected


def passed(name: str, graph: Path, source: Checkpoint, folder: Path, settings: object) -> Path:
    context = make_context(folder, tiny_task("text-classification"), source)
    ours = PassContext(
        task=context.task, data=replace(context.data, calibration=make_examples("text-classification", 8)),
        tokenizer=make_tokenizer(WORDS), checkpoint=source,
        device=context.device, seed=0, progress=Silent(),
    )  # fmt: skip
    target = folder / f"{name}.onnx"
    run_pass(pass_spec(name), graph, target, settings, ours)
    return target


@pytest.mark.parametrize("lengths", [False, True])
@torch.no_grad()
def test_fusion_and_int8_reach_every_layer(lengths: bool, tmp_path: Path) -> None:
    model = both_dials("dact") if lengths else adaptive("dact")
    plain, source = exported(model, tmp_path)
    fused = passed("fuse", plain, source, tmp_path, FuseSettings())
    int8 = passed(
        "quantize", fused, source, tmp_path, QuantizeSettings(backend="onnxruntime", mode="dynamic", smooth="off")
    )
    ids, mask = ragged()
    expected, blocks = run(plain, ids, mask)
    logits, fused_blocks = run(fused, ids, mask)
    np.testing.assert_allclose(logits, expected, atol=1e-4)
    assert fused_blocks.tolist() == blocks.tolist()
    model_fused, model_int8 = onnx.load(fused), onnx.load(int8)
    assert sum(node.op_type == "Gelu" for node in all_nodes(model_fused)) == LAYERS
    assert integer_products(model_int8) >= 6 * LAYERS
    logits, _ = run(int8, ids, mask)
    assert np.mean(logits.argmax(-1) == expected.argmax(-1)) > 0.8
    for graph in (model_fused, model_int8):
        assert [value.name for value in graph.graph.output] == ["logits", "blocks_run"]
        assert any(node.name == "depth.0" for node in graph.graph.node)


@pytest.mark.parametrize("method", METHODS)
@torch.no_grad()
def test_a_model_without_exits_left_is_a_graph_too(method: str, tmp_path: Path) -> None:
    model = make_model("bert", tiny_task("text-classification"), layers=1)
    make_adaptive_depth(model, AdaptiveDepth(method=method, setting=SETTINGS[method])).eval()  # type: ignore[arg-type]
    path, _ = exported(model, tmp_path)
    ids, mask = ragged()
    logits, blocks = run(path, ids, mask)
    np.testing.assert_allclose(logits, model(ids, mask).logits.numpy(), atol=1e-4)
    assert set(blocks.tolist()) == {1}


@pytest.mark.parametrize("dial", ["optional", "fixed"])
@pytest.mark.parametrize("method", METHODS)
@torch.no_grad()
def test_parity_sees_graphs_that_stop_elsewhere(method: str, dial: str, tmp_path: Path) -> None:
    task = tiny_task("text-classification")
    path, source = exported(adaptive(method), tmp_path, dial=dial)
    examples = make_examples("text-classification", 12)
    assert compare(source, path, task, make_tokenizer(WORDS), examples).max_abs < 1e-4
    if dial == "optional":
        model = onnx.load(path)
        graph = model.graph
        counted = next(node for node in graph.node if "blocks_run" in node.output)
        counted.output[0] = "counted"
        graph.initializer.append(onnx.numpy_helper.from_array(np.asarray([1]), "one"))
        graph.node.append(onnx.helper.make_node("Add", ["counted", "one"], ["blocks_run"], "more"))
        onnx.save(model, tmp_path / "wrong.onnx")
        assert compare(source, tmp_path / "wrong.onnx", task, make_tokenizer(WORDS), examples).max_abs >= 1


@pytest.mark.parametrize("method", METHODS)
@torch.no_grad()
def test_float16_stops_where_float32_does(method: str, tmp_path: Path) -> None:
    plain, source = exported(both_dials(method), tmp_path)
    fused = passed("fuse", plain, source, tmp_path, FuseSettings())
    half = passed("cast", fused, source, tmp_path, CastSettings())
    ids, mask = ragged()
    for setting in (0.0, 0.4, 1.0, 9.0):
        expected, blocks = run(fused, ids, mask, **{DIALS[method]: [setting]})
        logits, half_blocks = run(half, ids, mask, **{DIALS[method]: [setting]})
        np.testing.assert_allclose(logits, expected, atol=0.02)
        assert np.mean(half_blocks == blocks) > 0.9
    assert half.stat().st_size < 0.7 * fused.stat().st_size


@torch.no_grad()
def test_nncf_quantizes_a_graph_that_stops(tmp_path: Path) -> None:
    plain, source = exported(adaptive("dact"), tmp_path)
    fused = passed("fuse", plain, source, tmp_path, FuseSettings())
    settings = QuantizeSettings(backend="nncf", mode="static", smooth="off")
    int8 = passed("quantize", fused, source, tmp_path, settings)
    ids, mask = ragged()
    expected, _ = run(fused, ids, mask)
    logits, _ = run(int8, ids, mask)
    assert np.mean(logits.argmax(-1) == expected.argmax(-1)) > 0.8


@torch.no_grad()
def test_both_forms_compute_the_same(tmp_path: Path) -> None:
    path, _ = exported(adaptive("pabee"), tmp_path)
    ids, mask = ragged()
    expected, blocks = run(path, ids, mask)
    model = onnx.load(path)
    before = [node.name for node in all_nodes(model)]
    stopping.unnest(model)
    assert not any(node.name == "depth.0" for node in model.graph.node)
    onnx.save(model, tmp_path / "flat.onnx")
    flat, flat_blocks = run(tmp_path / "flat.onnx", ids, mask)
    np.testing.assert_allclose(flat, expected, atol=1e-6)
    assert flat_blocks.tolist() == blocks.tolist()
    stopping.nest(model)
    assert sorted(node.name for node in all_nodes(model)) == sorted(before)


@pytest.mark.parametrize("dial", ["required", "fixed"])
@torch.no_grad()
def test_the_dial_is_a_constant_where_optional_inputs_do_not_work(dial: str, tmp_path: Path) -> None:
    model = adaptive("pabee")
    path, _ = exported(model, tmp_path, dial=dial)
    assert "patience" not in [value.name for value in onnx.load(path).graph.input]
    assert run(path, *ragged())[1].tolist() == model(*ragged()).blocks_run.tolist()
