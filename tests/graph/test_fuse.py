"""The pass `fuse`: fewer nodes, the same numbers, and an error where it does not find what must be there."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import onnx
import pytest

from compressor.config.device import DeviceProfile
from compressor.errors import FusionError, PassError, RequestError
from compressor.graph.files import load, save
from compressor.models import checkpoint as checkpoints
from tests.graph.exported import (
    FAMILIES,
    LAYERS,
    TASKS,
    adaptive_settings,
    device,
    difference,
    export_model,
    fuse,
    inputs_of,
    masks,
    run_graph,
    run_torch,
    save_model,
    task_of,
)

PAIRS = [(family, TASKS[(index + 1) % 3]) for index, family in enumerate(FAMILIES)] + [("bert", "question-answering")]
PAIRS += [("electra", "text-regression"), ("distilbert", "text-regression")]


@pytest.mark.parametrize(("family", "task_name"), PAIRS)
@pytest.mark.parametrize("layout", ["rows", "onnxruntime"])
def test_a_fused_stock_graph_gives_what_pytorch_gives(family: str, task_name: str, layout: str, tmp_path: Path) -> None:
    task = task_of(task_name)
    save_model(tmp_path, family, task, None)
    exported = export_model(tmp_path, task)
    result = fuse(exported, tmp_path, layout, task=task)
    assert result.notes["layout"] == layout
    in_head = family == "electra" and not task.restores_tokens
    assert (result.notes["fused"]["attention"], result.notes["fused"]["gelu"]) == (LAYERS, LAYERS + in_head)
    model = checkpoints.load(tmp_path, task)
    for name, mask in masks().items():
        inputs = inputs_of(mask)
        outputs, expected = run_graph(result.path, inputs), run_torch(model, task, inputs)
        real = mask.any(axis=1) if layout == "onnxruntime" else slice(None)
        assert difference(outputs, outputs) == 0, name
        assert difference([v[real] for v in outputs], [v[real] for v in expected]) < 1e-4, name
    assert len(load(result.path).graph.node) < len(load(exported).graph.node)


def test_auto_follows_the_first_provider(tmp_path: Path) -> None:
    task = task_of("question-answering")
    save_model(tmp_path, "bert", task, None)
    exported = export_model(tmp_path, task)
    assert fuse(exported, tmp_path).notes["layout"] == "rows"
    gpu = fuse(exported, tmp_path, provider="CUDAExecutionProvider")
    assert gpu.notes == {
        "layout": "onnxruntime",
        "fused": {"attention": LAYERS, "gelu": LAYERS, "skip_layer_norm": 2 * LAYERS, "embedding": 1},
    }


def test_an_adaptive_graph_keeps_its_fused_attention(tmp_path: Path) -> None:
    task = task_of("question-answering")
    save_model(tmp_path, "bert", task, adaptive_settings("question-answering"))
    exported = export_model(tmp_path, task)
    before = exported.read_bytes()
    result = fuse(exported, tmp_path)
    assert result.notes["fused"] == {"attention": LAYERS, "gelu": LAYERS}
    assert exported.read_bytes() == before
    assert any(entry.key == "compressor.dial.layers" for entry in load(result.path).metadata_props)


def test_another_activation_is_not_counted_as_gelu(tmp_path: Path) -> None:
    task = task_of("question-answering")
    folder = save_model(tmp_path, "bert", task, None)
    config = (folder / "config.json").read_text().replace('"hidden_act": "gelu"', '"hidden_act": "relu"')
    (folder / "config.json").write_text(config)
    assert fuse(export_model(tmp_path, task), tmp_path).notes["fused"] == {"attention": LAYERS, "gelu": 0}


@pytest.mark.parametrize("layout", ["rows", "onnxruntime"])
@pytest.mark.parametrize("adaptive", [False, True])
def test_fusing_twice_is_an_error(layout: str, adaptive: bool, tmp_path: Path) -> None:
    task = task_of("question-answering")
    save_model(tmp_path, "bert", task, adaptive_settings("question-answering") if adaptive else None)
    fused = fuse(export_model(tmp_path, task), tmp_path, layout).path
    with pytest.raises(PassError, match="holds fused operators already"):
        fuse(fused, tmp_path, layout)


@pytest.mark.parametrize("adaptive", [False, True])
def test_a_missed_attention_is_an_error(adaptive: bool, tmp_path: Path) -> None:
    task = task_of("question-answering")
    save_model(tmp_path, "bert", task, adaptive_settings("question-answering") if adaptive else None)
    exported = export_model(tmp_path, task)
    model = load(exported)
    for node in model.graph.node:
        if node.name == "attention.1":
            node.name = "something else"
        if node.op_type == "Softmax":
            node.op_type = "LogSoftmax"
            break
    save(model, exported)
    with pytest.raises(FusionError, match=f"expected {LAYERS} .*attention.*found {LAYERS - 1}"):
        fuse(exported, tmp_path)


def test_a_missed_gelu_is_an_error(tmp_path: Path) -> None:
    task = task_of("question-answering")
    save_model(tmp_path, "bert", task, None)
    exported = export_model(tmp_path, task)
    model = load(exported)
    next(node for node in model.graph.node if node.op_type == "Erf").op_type = "Tanh"
    save(model, exported)
    with pytest.raises(FusionError, match=f"expected {LAYERS} fused 'gelu', found {LAYERS - 1}"):
        fuse(exported, tmp_path)


def test_what_is_left_is_used(tmp_path: Path) -> None:
    """The nodes and weights of what was replaced are gone."""
    task = task_of("question-answering")
    save_model(tmp_path, "roberta", task, None)
    graph = load(fuse(export_model(tmp_path, task), tmp_path).path).graph
    types = Counter(node.op_type for node in graph.node)
    assert types["If"] == LAYERS and not types["Softmax"] and not types["Erf"]


def old_device(version: str) -> DeviceProfile:
    return dataclasses.replace(device(), runtime_version=version)


def every_node(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            yield from every_node(attribute.g)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("adaptive", [False, True])
def test_an_old_runtime_gets_no_operator_that_it_lacks(family: str, adaptive: bool, tmp_path: Path) -> None:
    """ONNX Runtime 1.14 has no MultiHeadAttention on the CPU, and that of 1.15 computes something else."""
    task = task_of("text-classification")
    settings = adaptive_settings("text-classification") if adaptive else None
    folder = save_model(tmp_path / family, family, task, settings)
    plain = export_model(folder, task, opset=15)
    fused = fuse(plain, folder, task=task, profile=old_device("1.15"))
    assert "MultiHeadAttention" not in {node.op_type for node in every_node(load(fused.path).graph)}
    assert fused.notes["fused"]["gelu"] == LAYERS + (family == "electra")
    for mask in masks().values():
        inputs, real = inputs_of(mask), mask.any(axis=1)
        before, after = run_graph(plain, inputs), run_graph(fused.path, inputs)
        assert difference([value[real] for value in before], [value[real] for value in after]) < 1e-4


@pytest.mark.parametrize(
    ("version", "opset", "message"),
    [("1.15", 17, "needs ONNX Runtime 1.16, and the device 'here' may have 1.15"), ("1.16", 15, "needs opset 17")],
)
def test_rows_are_refused_where_they_cannot_be(version: str, opset: int, message: str, tmp_path: Path) -> None:
    task = task_of("text-classification")
    folder = save_model(tmp_path / "bert", "bert", task, None)
    with pytest.raises(RequestError, match=message):
        fuse(export_model(folder, task, opset=opset), folder, "rows", task=task, profile=old_device(version))
