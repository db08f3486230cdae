"""Nodes in an order in which they can run, bodies of `If` and their uses of outer values included."""

from __future__ import annotations

from collections.abc import Iterator
from graphlib import TopologicalSorter

import onnx


def sort_nodes(graph: onnx.GraphProto) -> None:
    """Sort a graph's nodes, and those of the bodies inside it, so that values are made before they are used.

    ONNX Runtime's quantizers sort by plain inputs alone and put an `If` before what its bodies read from outside.
    """
    for node in graph.node:
        for body in _bodies(node):
            sort_nodes(body)
    maker = {output: place for place, node in enumerate(graph.node) for output in node.output if output}
    needs = {
        place: sorted({maker[name] for name in used_names(node) if name in maker})
        for place, node in enumerate(graph.node)
    }
    order = list(TopologicalSorter(needs).static_order())
    nodes = [graph.node[place] for place in order]
    copies = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del graph.node[:]
    graph.node.extend(copies)


def used_names(node: onnx.NodeProto) -> Iterator[str]:
    """Names that a node reads, those that its bodies read from outside among them."""
    yield from node.input
    for body in _bodies(node):
        own = {value.name for value in [*body.input, *body.initializer]}
        own |= {output for inner in body.node for output in inner.output}
        outside = {name for inner in body.node for name in used_names(inner)}
        yield from (outside | {value.name for value in body.output}) - own


def _bodies(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    for attribute in node.attribute:
        if attribute.type == onnx.AttributeProto.GRAPH:
            yield attribute.g
        elif attribute.type == onnx.AttributeProto.GRAPHS:
            yield from attribute.graphs
