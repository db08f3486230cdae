"""Removing what nothing uses any more."""

from __future__ import annotations

from collections.abc import Iterator

import onnx


def prune(graph: onnx.GraphProto) -> None:
    """Remove nodes without used outputs and initializers without users, in place; graph inputs stay."""
    wanted = {value.name for value in graph.output}
    kept: list[onnx.NodeProto] = []
    for node in reversed(graph.node):
        if wanted.intersection(node.output):
            kept.append(node)
            wanted.update(_reads(node))
    del graph.node[:]
    graph.node.extend(reversed(kept))
    inputs = {value.name for value in graph.input}
    weights = [tensor for tensor in graph.initializer if tensor.name in wanted | inputs]
    if len(weights) != len(graph.initializer):
        del graph.initializer[:]
        graph.initializer.extend(weights)


def _reads(node: onnx.NodeProto) -> Iterator[str]:
    """Every name that a node or its bodies read."""
    yield from node.input
    for attribute in node.attribute:
        if attribute.type == onnx.AttributeProto.GRAPH:
            for inner in attribute.g.node:
                yield from _reads(inner)
