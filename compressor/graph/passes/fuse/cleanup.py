"""Removing what nothing uses any more."""

from __future__ import annotations

import onnx

from compressor.graph.order import used_names


def prune(graph: onnx.GraphProto) -> None:
    """Remove nodes without used outputs and initializers without users, in place; graph inputs stay."""
    wanted = {value.name for value in graph.output}
    kept: list[onnx.NodeProto] = []
    for node in reversed(graph.node):
        if wanted.intersection(node.output):
            kept.append(node)
            wanted.update(used_names(node))
    del graph.node[:]
    graph.node.extend(reversed(kept))
    inputs = {value.name for value in graph.input}
    weights = [tensor for tensor in graph.initializer if tensor.name in wanted | inputs]
    if len(weights) != len(graph.initializer):
        del graph.initializer[:]
        graph.initializer.extend(weights)
