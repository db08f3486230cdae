"""Writing ONNX nodes by hand: names, constants and subgraphs looked after."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

MICROSOFT = "com.microsoft"


def opset_of(model: onnx.ModelProto) -> int:
    """The standard operators' version that a model is written in."""
    return int(next(entry.version for entry in model.opset_import if entry.domain == ""))


class Builder:
    """Collects nodes whose names all begin with `prefix`; constants go to the main graph's initializers.

    A subgraph is a builder of its own that shares the constants: a body may use every name of the graph around it.
    """

    def __init__(self, prefix: str, opset: int, constants: dict[str, onnx.TensorProto] | None = None) -> None:
        self.prefix = prefix
        self.opset = opset
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, onnx.TensorProto] = {} if constants is None else constants
        self._count = 0

    def op(self, op_type: str, *inputs: str, domain: str = "", **attributes: Any) -> str:
        """Add a node with one output; its name."""
        return self.ops(op_type, 1, *inputs, domain=domain, **attributes)[0]

    def ops(self, op_type: str, outputs: int, *inputs: str, domain: str = "", **attributes: Any) -> list[str]:
        """Add a node with several outputs; their names."""
        name = f"{self.prefix}/{op_type}_{self._count}"
        self._count += 1
        names = [f"{name}:{index}" for index in range(outputs)]
        self.nodes.append(helper.make_node(op_type, list(inputs), names, name=name, domain=domain, **attributes))
        return names

    def give(self, source: str, name: str) -> None:
        """Let a value also be known as `name`."""
        self.nodes.append(helper.make_node("Identity", [source], [name], name=f"{self.prefix}/Identity/{name}"))

    def constant(self, values: Any, dtype: type[np.generic], name: str = "") -> str:
        """A constant by its value, or by the name of what is large; equal ones are stored once."""
        array = np.asarray(values, dtype)
        name = name or ",".join(map(str, array.ravel().tolist()))
        name = f"constant/{array.dtype}/{'x'.join(map(str, array.shape))}/{name}"
        self.constants.setdefault(name, numpy_helper.from_array(array, name))
        return name

    def ints(self, *values: int) -> str:
        """A constant int64 [len(values)]."""
        return self.constant(values, np.int64)

    def float(self, value: float) -> str:
        """A constant float32 scalar."""
        return self.constant(value, np.float32)

    def sum(self, values: str, axis: int, *, keepdims: bool = False) -> str:
        """Sum over one axis."""
        return self.op("ReduceSum", values, self.ints(axis), keepdims=int(keepdims))

    def reduce(self, op_type: str, values: str, axis: int | None = None, *, keepdims: bool = False) -> str:
        """ReduceMax or ReduceMin over one axis or all; its axes became an input with operator set 18."""
        if axis is None:
            return self.op(op_type, values, keepdims=0)
        if self.opset >= 18:
            return self.op(op_type, values, self.ints(axis), keepdims=int(keepdims))
        return self.op(op_type, values, axes=[axis], keepdims=int(keepdims))

    def slice(self, values: str, start: str, end: str, axis: int) -> str:
        """Elements `start` to `end` (int64 [1] each) along an axis."""
        return self.op("Slice", values, start, end, self.ints(axis))

    def body(self, part: str) -> Builder:
        """A builder for a subgraph (a branch of an `If`)."""
        return Builder(f"{self.prefix}/{part}", self.opset, self.constants)

    def branch(self, condition: str, types: Sequence[int], then: Body, other: Body) -> list[str]:
        """An `If`: two bodies, each with the names of its outputs, whose element types are `types`."""
        return self.ops(
            "If",
            len(types),
            condition,
            then_branch=then[0].graph(then[1], types),
            else_branch=other[0].graph(other[1], types),
        )

    def graph(self, outputs: Sequence[str], types: Sequence[int]) -> onnx.GraphProto:
        """The collected nodes as a body without inputs; an output from outside the body is handed on."""
        values = []
        made = {output for node in self.nodes for output in node.output}
        for name, kind in zip(outputs, types, strict=True):
            inside = name in made
            result = name if inside else self.op("Identity", name)
            values.append(helper.make_tensor_value_info(result, kind, None))
        return helper.make_graph(self.nodes, self.prefix, [], values)


Body = tuple[Builder, Sequence[str]]
"""The nodes of one branch, and the names of its outputs."""
