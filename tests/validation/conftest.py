"""A text classifier made by hand: its logits are sums of a table over the tokens."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

TABLE = np.random.default_rng(3).normal(size=(40, 3)).astype(np.float32)


def make_classifier(path: Path, table: np.ndarray = TABLE, output: str = "logits") -> Path:
    shape = ["batch_size", "sequence_length"]
    inputs = [helper.make_tensor_value_info(name, TensorProto.INT64, shape) for name in ("input_ids", "attention_mask")]
    initializers = [numpy_helper.from_array(table, "table")]
    initializers += [
        numpy_helper.from_array(np.asarray([place], np.int64), name) for name, place in (("one", 1), ("two", 2))
    ]
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["found"]),
        helper.make_node("Cast", ["attention_mask"], ["mask"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["mask", "two"], ["column"]),
        helper.make_node("Mul", ["found", "column"], ["real"]),
        helper.make_node("ReduceSum", ["real", "one"], [output], keepdims=0),
    ]
    outputs = [helper.make_tensor_value_info(output, TensorProto.FLOAT, ["batch_size", 3])]
    graph = helper.make_graph(nodes, "tiny", inputs, outputs, initializers)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


@pytest.fixture(scope="session")
def classifier(tmp_path_factory) -> Path:
    return make_classifier(tmp_path_factory.mktemp("graph") / "model.onnx")
