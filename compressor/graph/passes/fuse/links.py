"""Who makes and who uses each value of a graph."""

from __future__ import annotations

from collections import defaultdict

import onnx
from onnx import numpy_helper


class Links:
    """Look-ups over a main graph's nodes; made anew after the graph has changed."""

    def __init__(self, graph: onnx.GraphProto) -> None:
        self.makers: dict[str, onnx.NodeProto] = {
            output: node for node in graph.node for output in node.output if output
        }
        self.users: dict[str, list[onnx.NodeProto]] = defaultdict(list)
        for node in graph.node:
            for name in dict.fromkeys(node.input):
                self.users[name].append(node)
        self.weights = {tensor.name: tensor for tensor in graph.initializer}

    def user(self, name: str, op_type: str) -> onnx.NodeProto | None:
        """The first user of a value that is of a type."""
        return next((node for node in self.users[name] if node.op_type == op_type), None)

    def is_constant(self, name: str) -> bool:
        """Whether a value never changes."""
        maker = self.makers.get(name)
        return name in self.weights or (maker is not None and maker.op_type == "Constant")

    def number(self, name: str) -> float | None:
        """The value of a constant with one element."""
        tensor = self.weights.get(name)
        maker = self.makers.get(name)
        if tensor is None and maker is not None and maker.op_type == "Constant":
            tensor = next((entry.t for entry in maker.attribute if entry.name == "value"), None)
        if tensor is None:
            return None
        values = numpy_helper.to_array(tensor)
        return float(values.reshape(-1)[0]) if values.size == 1 else None

    def other_input(self, node: onnx.NodeProto, name: str) -> str:
        """The input of a node with two inputs that is not `name` (`name` itself if both are)."""
        return next((value for value in node.input if value != name), name)
