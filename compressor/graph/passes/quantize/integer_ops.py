"""Q/DQ pairs around products as single integer products, for ONNX Runtime's CPU provider.

The provider finds such pairs by itself only where nothing else was fused first: it turns a product of rows and
its bias into Gemm, whose float32 bias no pattern expects, and then multiplies dequantized weights in float32,
slower than before. `MatMulIntegerToFloat` is what it would make of the pairs, with the bias inside.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from compressor.graph.passes.nodes import all_nodes, drop_unread_weights

DOMAIN = "com.microsoft"


def to_integer_products(model: ModelProto, *, signed: bool) -> int:
    """Replace MatMul between DequantizeLinear nodes, in place; returns how many.

    `signed`: whether int8 activations stay int8. Otherwise they become uint8 with a zero point 128 higher, which
    is the same number: without a signed product of their own, x86 processors take twelve times as long for int8.
    """
    if not signed:
        _activations_to_unsigned(model)
    graph = model.graph
    producers = {name: node for node in graph.node for name in node.output}
    consumers: dict[str, list[NodeProto]] = {}
    for node in all_nodes(model):
        for name in node.input:
            consumers.setdefault(name, []).append(node)
    weights = {tensor.name: tensor for tensor in graph.initializer}
    outputs = {entry.name for entry in graph.output}
    replaced = 0
    for node in [node for node in graph.node if node.op_type == "MatMul"]:
        left, right = (producers.get(name) for name in node.input)
        if left is None or right is None or not _fits(left, right, weights):
            continue
        output, bias, follower = node.output[0], "", None
        if output not in outputs and len(consumers.get(output, [])) == 1:
            follower = consumers[output][0]
            bias = _bias(follower, output, weights)
        inputs = [left.input[0], right.input[0], left.input[1], right.input[1], left.input[2], right.input[2]]
        if bias and follower is not None:
            inputs.append(bias)
            output = follower.output[0]
            graph.node.remove(follower)
        new = helper.make_node("MatMulIntegerToFloat", inputs, [output], f"{node.name}_integer", domain=DOMAIN)
        node.CopyFrom(new)
        replaced += 1
    _drop_unread(model)
    if replaced and not any(entry.domain == DOMAIN for entry in model.opset_import):
        model.opset_import.append(helper.make_opsetid(DOMAIN, 1))
    return replaced


def _activations_to_unsigned(model: ModelProto) -> None:
    weights = {tensor.name: tensor for tensor in model.graph.initializer}
    shifted = {
        node.input[2]
        for node in model.graph.node
        if node.op_type == "QuantizeLinear" and len(node.input) > 2 and node.input[2] in weights
    }
    for name in shifted:
        if weights[name].data_type == TensorProto.INT8:
            values = numpy_helper.to_array(weights[name]).astype(np.int16) + 128
            weights[name].CopyFrom(numpy_helper.from_array(values.astype(np.uint8), name))
    outputs = {name for node in model.graph.node if node.op_type == "QuantizeLinear" for name in node.output}
    for entry in [entry for entry in model.graph.value_info if entry.name in outputs]:
        model.graph.value_info.remove(entry)  # still says int8


def _fits(left: NodeProto, right: NodeProto, weights: Mapping[str, TensorProto]) -> bool:
    """Whether both sides are dequantized, with zero points, the right one from constant columns."""
    if left.op_type != "DequantizeLinear" or right.op_type != "DequantizeLinear":
        return False
    if len(left.input) < 3 or len(right.input) < 3 or right.input[0] not in weights:
        return False
    axis = next((entry.i for entry in right.attribute if entry.name == "axis"), 1)
    scale = weights.get(right.input[1])
    return scale is not None and (len(scale.dims) == 0 or scale.dims == [1] or axis in (1, -1))


def _bias(node: NodeProto, product: str, weights: Mapping[str, TensorProto]) -> str:
    """The constant row that an Add puts on `product`; "" if the node does something else."""
    if node.op_type != "Add":
        return ""
    other = next((name for name in node.input if name != product), "")
    return other if other in weights and len(weights[other].dims) == 1 and weights[other].dims[0] > 1 else ""


def _drop_unread(model: ModelProto) -> None:
    """Remove dequantizers that nobody reads any more, and then weights that nobody reads."""
    graph = model.graph
    read = {name for node in all_nodes(model) for name in node.input} | {entry.name for entry in graph.output}
    for node in [node for node in graph.node if node.op_type == "DequantizeLinear" and node.output[0] not in read]:
        graph.node.remove(node)
    drop_unread_weights(model)
