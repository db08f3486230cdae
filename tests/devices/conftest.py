"""A hand-made graph: one logit a token, one score a row, and an optional `keep` that is added to both."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from compressor.config.device import DeviceProfile, Provider


def make_graph(path: Path, *, dial: str = "optional") -> Path:
    """logits[b, t] = id * mask + sum(keep); score[b, 1] = sum of the logits of row b (keep counted once a token)."""
    ids = helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["batch_size", "sequence_length"])
    mask = helper.make_tensor_value_info("attention_mask", TensorProto.INT64, ["batch_size", "sequence_length"])
    keep = helper.make_tensor_value_info("keep", TensorProto.FLOAT, [2])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch_size", "sequence_length"])
    score = helper.make_tensor_value_info("score", TensorProto.FLOAT, ["batch_size", 1])
    default = numpy_helper.from_array(np.asarray([1.0, 1.0], np.float32), "keep")
    axes = numpy_helper.from_array(np.asarray([1], np.int64), "axes")
    nodes = [
        helper.make_node("Mul", ["input_ids", "attention_mask"], ["masked"]),
        helper.make_node("Cast", ["masked"], ["values"], to=TensorProto.FLOAT),
        helper.make_node("ReduceSum", ["keep"], ["dial"], keepdims=0),
        helper.make_node("Add", ["values", "dial"], ["logits"]),
        helper.make_node("ReduceSum", ["values", "axes"], ["score"], keepdims=1),
    ]
    inputs = [ids, mask] + ([keep] if dial in ("optional", "required") else [])
    initializers = [axes] + ([default] if dial != "required" else [])
    graph = helper.make_graph(nodes, "tiny", inputs, [logits, score], initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, path)
    return path


@pytest.fixture(scope="session")
def graph(tmp_path_factory) -> Path:
    return make_graph(tmp_path_factory.mktemp("graph") / "tiny.onnx")


@pytest.fixture(scope="session")
def graphs(tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("graphs")
    return {dial: make_graph(folder / f"{dial}.onnx", dial=dial) for dial in ("optional", "required", "fixed")}


@pytest.fixture
def inputs() -> dict[str, np.ndarray]:
    return {"input_ids": np.arange(8)[None] + 1, "attention_mask": np.ones((1, 8), np.int64)}


@pytest.fixture
def elsewhere() -> DeviceProfile:
    """A device that this machine is not."""
    from compressor.config.device import Identity

    return DeviceProfile(
        name="board",
        description="some board",
        providers=[Provider(name="CUDAExecutionProvider"), Provider(name="CPUExecutionProvider")],
        identity=Identity(machine=["aarch64-of-another-kind"]),
        threads=1,
    )
