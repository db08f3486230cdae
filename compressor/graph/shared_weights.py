"""Weights that are equal are stored once by the exporter and handed on by Identity nodes, which hide them."""

from __future__ import annotations

import onnx


def name_weights_directly(graph: onnx.GraphProto) -> int:
    """Let every user of a weight name it itself, without an Identity in between; how many Identities left."""
    weights = {tensor.name for tensor in graph.initializer}
    outputs = {value.name for value in graph.output}
    source: dict[str, str] = {}
    nodes: list[onnx.NodeProto] = []
    for node in graph.node:
        for index, name in enumerate(node.input):
            if name in source:
                node.input[index] = source[name]
        if node.op_type == "Identity" and node.input[0] in weights and node.output[0] not in outputs:
            source[node.output[0]] = node.input[0]
        else:
            nodes.append(node)
    del graph.node[:]
    graph.node.extend(nodes)
    return len(source)
