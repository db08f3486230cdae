"""Linear layers in one form: MatMul and Add, as quantizers and fusions expect them."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper, numpy_helper


def split_gemms(graph: onnx.GraphProto) -> int:
    """Turn every Gemm with constant weights into MatMul and Add, in place; how many were turned."""
    weights = {tensor.name: tensor for tensor in graph.initializer}
    nodes: list[onnx.NodeProto] = []
    replaced: dict[str, onnx.TensorProto] = {}
    turned = 0
    for node in graph.node:
        attributes = {entry.name: helper.get_attribute_value(entry) for entry in node.attribute}
        plain = attributes.get("alpha", 1.0) == attributes.get("beta", 1.0) == 1.0 and not attributes.get("transA")
        if node.op_type != "Gemm" or not plain or len(node.input) < 3 or node.input[1] not in weights:
            nodes.append(node)
            continue
        source, weight, bias = node.input
        if attributes.get("transB"):
            matrix = numpy_helper.to_array(weights[weight])
            transposed = f"{weight}.transposed"
            if transposed not in weights:
                weights[transposed] = numpy_helper.from_array(np.ascontiguousarray(matrix.T), transposed)
                graph.initializer.append(weights[transposed])
            replaced[weight] = weights[weight]
            weight = transposed
        product = f"{node.output[0]}.product"
        nodes.append(helper.make_node("MatMul", [source, weight], [product], name=f"{node.name}/MatMul"))
        nodes.append(helper.make_node("Add", [product, bias], [node.output[0]], name=f"{node.name}/Add"))
        turned += 1
    del graph.node[:]
    graph.node.extend(nodes)
    for name in replaced.keys() - {name for node in nodes for name in node.input}:
        graph.initializer.remove(replaced[name])
    return turned
