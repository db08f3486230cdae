"""The dial's default and table, and what a graph says about itself."""

from __future__ import annotations

import json
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from compressor.errors import DialError, PassError, StorageError
from compressor.graph import dial, metadata
from compressor.graph.files import load, save


@pytest.fixture
def graph(tmp_path: Path) -> Path:
    """The smallest graph with an optional dial of three layers."""
    value = helper.make_tensor_value_info("keep", TensorProto.FLOAT, [3])
    result = helper.make_tensor_value_info("result", TensorProto.FLOAT, [3])
    body = helper.make_graph([helper.make_node("Identity", ["keep"], ["result"])], "graph", [value], [result])
    model = helper.make_model(body, opset_imports=[helper.make_opsetid("", 17)])
    dial.install(model, [1.0, 0.9, 0.8], "optional")
    save(model, tmp_path / "graph.onnx")
    return tmp_path / "graph.onnx"


def test_metadata_is_added_and_replaced(graph: Path) -> None:
    metadata.write(graph, {"task": "question-answering", "recipe": "a"})
    metadata.write(graph, {"recipe": "b"})
    assert metadata.read(graph) == {"dial.layers": "3", "task": "question-answering", "recipe": "b"}
    assert {entry.key for entry in load(graph).metadata_props} == {
        "compressor.dial.layers", "compressor.task", "compressor.recipe",
    }  # fmt: skip


def test_the_default_is_written_and_read(graph: Path) -> None:
    assert dial.default(graph) == pytest.approx([1.0, 0.9, 0.8])
    dial.set_default(graph, [0.5, 0.5, 0.25])
    assert dial.default(graph) == [0.5, 0.5, 0.25]
    assert (dial.layers(graph), dial.kind(load(graph))) == (3, "optional")
    onnx.checker.check_model(str(graph))


def test_the_table_survives(graph: Path) -> None:
    rows = [{"keep": [1, 1, 1], "macs": 12, "metric": 80.5}, {"keep": [0.5, 0.5, 0.5], "macs": 6, "metric": 79.0}]
    assert dial.read_table(graph) == []
    dial.write_table(graph, rows)
    assert dial.read_table(graph) == rows
    assert json.loads(metadata.read(graph)["dial.table"]) == rows


@pytest.mark.parametrize(
    ("keep", "message"),
    [
        ([1.0, 0.5], "has 2 entries, the model has 3 layers"),
        ([1.0, 0.5, 0.6], r"keep\[2\] = 0.6 is above keep\[1\] = 0.5"),
        ([1.1, 1.0, 1.0], r"keep\[0\] = 1.1 is outside \(0, 1\]"),
        ([0.5, 0.5, 0.0], r"keep\[2\] = 0.0 is outside"),
        ([float("nan")] * 3, r"keep\[0\] = nan is outside"),
    ],
)
def test_impossible_settings_are_refused(graph: Path, keep: list[float], message: str) -> None:
    with pytest.raises(DialError, match=message):
        dial.set_default(graph, keep)
    assert dial.default(graph) == pytest.approx([1.0, 0.9, 0.8])


def test_a_graph_without_a_default_has_none_to_set(graph: Path) -> None:
    model = load(graph)
    del model.graph.initializer[:]
    save(model, graph)
    assert (dial.default(graph), dial.kind(model)) == (None, "required")
    with pytest.raises(DialError, match="has a required dial"):
        dial.set_default(graph, [1, 1, 1])
    del model.graph.input[:]
    save(model, graph)
    with pytest.raises(DialError, match="has no length dial"):
        dial.set_default(graph, [1, 1, 1])


def test_files_that_are_no_graphs(tmp_path: Path) -> None:
    with pytest.raises(PassError, match="there is no ONNX graph at"):
        load(tmp_path / "missing.onnx")
    (tmp_path / "text.onnx").write_text("this is not a graph, by any means")
    with pytest.raises(PassError, match="is not an ONNX graph, or is damaged"):
        load(tmp_path / "text.onnx")


def test_a_write_that_fails_leaves_nothing(graph: Path) -> None:
    (graph.parent / "file").write_text("")
    with pytest.raises(StorageError, match="cannot write"):
        save(load(graph), graph.parent / "file" / "graph.onnx")
    assert sorted(path.name for path in graph.parent.iterdir()) == ["file", "graph.onnx"]
