"""Stock checkpoints as graphs: the same numbers as PyTorch, the right names and axes, clear errors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from compressor.errors import ExportError
from compressor.graph import metadata
from compressor.graph.files import load
from compressor.models import checkpoint as checkpoints
from tests.graph.exported import (
    FAMILIES,
    TASKS,
    difference,
    export_model,
    inputs_of,
    masks,
    run_graph,
    run_torch,
    save_model,
    task_of,
)

PAIRS = [(family, TASKS[index % 3]) for index, family in enumerate(FAMILIES)] + [("bert", "text-classification")]


@pytest.mark.parametrize(("family", "task_name"), PAIRS)
def test_a_stock_graph_gives_what_pytorch_gives(family: str, task_name: str, tmp_path: Path) -> None:
    task = task_of(task_name)
    save_model(tmp_path, family, task, None)
    graph = export_model(tmp_path, task)
    model = checkpoints.load(tmp_path, task)
    for name, mask in masks().items():
        inputs = inputs_of(mask)
        result, expected = run_graph(graph, inputs), run_torch(model, task, inputs)
        real = mask.any(axis=1)  # a text of padding alone has no right answer, but must not disturb the others
        assert difference(result, result) == 0, name
        assert difference([v[real] for v in result], [v[real] for v in expected]) < 1e-4, name


def test_names_axes_and_versions(tmp_path: Path) -> None:
    task = task_of("question-answering")
    save_model(tmp_path, "bert", task, None)
    model = load(export_model(tmp_path, task, opset=18))
    values = (*model.graph.input, *model.graph.output)
    axes = {value.name: [axis.dim_param for axis in value.type.tensor_type.shape.dim] for value in values}
    names = ["input_ids", "attention_mask", "token_type_ids", "start_logits", "end_logits"]
    assert axes == {name: ["batch_size", "sequence_length"] for name in names}
    assert model.opset_import[0].version == 18
    assert model.ir_version == onnx.helper.find_min_ir_version_for(list(model.opset_import))
    assert metadata.of_model(model)["family"] == "bert"
    onnx.checker.check_model(model, full_check=True)


def test_no_number_is_lower_than_a_mask(tmp_path: Path) -> None:
    task = task_of("token-classification")
    save_model(tmp_path, "distilbert", task, None)
    model = load(export_model(tmp_path, task))
    tensors = [*model.graph.initializer]
    tensors += [entry.t for node in model.graph.node for entry in node.attribute if entry.name == "value"]
    floats = [onnx.numpy_helper.to_array(tensor) for tensor in tensors if tensor.data_type == onnx.TensorProto.FLOAT]
    assert min(float(np.min(values)) for values in floats if values.size) == -10000.0


def test_an_opset_that_is_too_old_is_an_error(tmp_path: Path) -> None:
    task = task_of("question-answering")
    save_model(tmp_path, "bert", task, None)
    with pytest.raises(ExportError, match="opset 11 is too old"):
        export_model(tmp_path, task, opset=11)


def test_a_dial_that_does_not_exist_is_an_error(tmp_path: Path) -> None:
    task = task_of("question-answering")
    save_model(tmp_path, "bert", task, None)
    with pytest.raises(ExportError, match="dial 'sometimes'"):
        export_model(tmp_path, task, dial="sometimes")
