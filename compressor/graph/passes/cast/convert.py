"""Turning the arithmetic of a float32 graph into float16, bodies of If included.

ONNX Runtime's converter puts the casts around a node that stays float32 into the outermost graph, where the
tensors of a branch do not exist, and rounds to float16 and back between two such neighbours. This one casts in
the graph where a tensor is used, only where the two kinds meet, and once a tensor.
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import onnx
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

from compressor.errors import PassError
from compressor.graph.constants import to_initializers
from compressor.graph.passes.nodes import bodies, declare_fused_outputs, drop_unread_weights, graphs

FLOAT, HALF = TensorProto.FLOAT, TensorProto.FLOAT16
MASK_VALUE = 1e4
"""Stands for "never" in a mask: its softmax is zero, and sums of two of them stay far from the largest float16."""
MASK_LIMIT = 3e4
"""Constants beyond this are taken for mask values (torch writes the smallest float32, -3.4e38)."""
LARGEST = float(np.finfo(np.float16).max)
Casts = dict[tuple[str, int], str]


def to_half(model: ModelProto, blocked: Collection[str]) -> dict[str, int]:
    """Convert in place; nodes named in `blocked`, inputs and outputs of the graph stay float32.

    Returns counts: weights converted, casts added, mask constants replaced.
    Raises `PassError` for a weight too large for float16.
    """
    for graph in graphs(model.graph):  # so that float32 and float16 readers each get theirs unrounded
        to_initializers(graph, FLOAT)
    converter = _Converter(model, _types(model), blocked)
    converter.convert(model.graph, {})
    converter.outputs_to_float()
    for graph in graphs(model.graph):
        del graph.value_info[:]  # stale; the runtime infers types again
    drop_unread_weights(model)
    return converter.counts


class _Converter:
    def __init__(self, model: ModelProto, types: dict[str, int], blocked: Collection[str]) -> None:
        self._model = model
        self._types = types
        self._blocked = blocked
        self._half: set[str] = set()  # tensors that are float16 by now
        self._made_by: dict[str, str] = {}  # node names by output
        self._weights = {
            tensor.name: (graph, tensor)
            for graph in graphs(model.graph)
            for tensor in graph.initializer
            if tensor.data_type == FLOAT and tensor.name not in {entry.name for entry in graph.input}
        }
        self._half_weights: dict[str, str] = {}
        self.counts = {"weights": 0, "casts": 0, "masks": 0}

    def convert(self, graph: GraphProto, outer: Casts) -> None:
        """Convert one graph; `outer` are the casts that can be seen from it."""
        casts = dict(outer)
        result: list[NodeProto] = []
        for node in list(graph.node):
            self._made_by.update(dict.fromkeys(node.output, node.name))
            inner = list(bodies(node))
            for body in inner:
                self.convert(body, casts)
            if inner:
                self._join(node, inner)
            else:
                self._inputs(node, result, casts)
                if node.name not in self._blocked:
                    _float_attributes(node, self.counts)
                    self._half.update(name for name in node.output if self._types.get(name) == FLOAT)
            result.append(node)
        del graph.node[:]
        graph.node.extend(result)

    def outputs_to_float(self) -> None:
        """Put a cast behind every output of the model that became float16."""
        graph = self._model.graph
        for entry in graph.output:
            if entry.name in self._half:
                inside = f"{entry.name}_half"
                for inner in graphs(graph):
                    for node in inner.node:
                        node.input[:] = [inside if name == entry.name else name for name in node.input]
                        node.output[:] = [inside if name == entry.name else name for name in node.output]
                    for output in inner.output:
                        if inner is not graph and output.name == entry.name:
                            output.name = inside
                graph.node.append(helper.make_node("Cast", [inside], [entry.name], f"{entry.name}_cast", to=FLOAT))

    def _inputs(self, node: NodeProto, result: list[NodeProto], casts: Casts) -> None:
        kind = FLOAT if node.name in self._blocked else HALF
        for index, name in enumerate(node.input):
            if name and self._types.get(name) == FLOAT:
                node.input[index] = self._seen_as(name, kind, result, casts)

    def _seen_as(self, name: str, kind: int, result: list[NodeProto], casts: Casts) -> str:
        """The name under which float tensor `name` is found as `kind`; converts a weight or adds a cast."""
        if name in self._weights:
            return name if kind == FLOAT else self._half_weight(name)
        if (name in self._half) == (kind == HALF):
            return name
        if (name, kind) not in casts:
            new = f"{name}_{'half' if kind == HALF else 'float'}_{self.counts['casts']}"
            result.append(helper.make_node("Cast", [name], [new], f"{new}_cast", to=kind))
            casts[name, kind] = new
            self.counts["casts"] += 1
        return casts[name, kind]

    def _half_weight(self, name: str) -> str:
        if name not in self._half_weights:
            graph, tensor = self._weights[name]
            half = half_tensor(tensor, self.counts)
            half.name = f"{name}_half"
            graph.initializer.append(half)
            self._half_weights[name] = half.name
            self.counts["weights"] += 1
        return self._half_weights[name]

    def _join(self, node: NodeProto, branches: list[GraphProto]) -> None:
        """Give each output of an If one type: float32 if a blocked node makes it in a branch, float16 otherwise."""
        for index, name in enumerate(node.output):
            if self._types.get(name) != FLOAT:
                continue
            made = [self._made_by.get(branch.output[index].name, "") for branch in branches]
            kind = FLOAT if any(maker in self._blocked for maker in made) else HALF
            for branch in branches:
                output = branch.output[index]
                added: list[NodeProto] = []
                seen = self._seen_as(output.name, kind, added, {})
                branch.node.extend(added)
                if seen in self._half_weights.values() or seen in self._weights:
                    copied = f"{name}_branch_{self.counts['casts']}"  # a branch cannot return a weight from outside
                    self.counts["casts"] += 1
                    branch.node.append(helper.make_node("Identity", [seen], [copied], f"{copied}_identity"))
                    seen = copied
                output.name = seen
                output.type.tensor_type.elem_type = kind
            if kind == HALF:
                self._half.add(name)


def half_tensor(tensor: TensorProto, counts: dict[str, int]) -> TensorProto:
    """A float32 tensor as float16; mask constants are replaced by +-`MASK_VALUE`.

    Raises `PassError` for other values that float16 cannot hold.
    """
    values = numpy_helper.to_array(tensor)
    if values.size and np.abs(values).max() > MASK_LIMIT:
        if np.unique(np.abs(values)).size > 2:
            raise PassError(
                f"cast: the weights '{tensor.name}' reach {np.abs(values).max():.3g}, too close to the largest "
                f"float16 ({np.finfo(np.float16).max:.0f}): exclude their node from the cast."
            )
        values = np.where(np.abs(values) > MASK_LIMIT, np.sign(values) * MASK_VALUE, values)
        counts["masks"] += 1
    return numpy_helper.from_array(values.astype(np.float16), tensor.name)


def _float_attributes(node: NodeProto, counts: dict[str, int]) -> None:
    for attribute in node.attribute:
        if node.op_type == "Cast" and attribute.name == "to" and attribute.i == FLOAT:
            attribute.i = HALF
        elif attribute.type == AttributeProto.TENSOR and attribute.t.data_type == FLOAT:
            attribute.t.CopyFrom(half_tensor(attribute.t, counts))
        elif attribute.name == "mask_filter_value" and attribute.f < -MASK_LIMIT:
            attribute.f = -MASK_VALUE
    if node.op_type == "ConstantOfShape" and not node.attribute:
        node.attribute.append(helper.make_attribute("value", numpy_helper.from_array(np.zeros(1, np.float16))))


def _types(model: ModelProto) -> dict[str, int]:
    """Element types by tensor name, through ONNX's inference; fused operators return floats."""
    copy = ModelProto()
    copy.CopyFrom(model)
    declare_fused_outputs(copy)
    types: dict[str, int] = {}
    for graph in graphs(onnx.shape_inference.infer_shapes(copy).graph):
        for entry in (*graph.value_info, *graph.input, *graph.output):
            types[entry.name] = entry.type.tensor_type.elem_type
        for tensor in graph.initializer:
            types[tensor.name] = tensor.data_type
    return types
