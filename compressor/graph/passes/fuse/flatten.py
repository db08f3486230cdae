"""Tokens of all texts as flat rows [batch·length, hidden] between the embeddings and the head of a stock graph.

Everything there but attention treats tokens one by one. On rows, ONNX Runtime runs a linear layer as one Gemm with its
bias, and does not put its slower SkipLayerNormalization in the place of a sum and a LayerNormalization.
"""

from __future__ import annotations

import onnx
from onnx import helper

from compressor.errors import FusionError
from compressor.graph.builder import Builder
from compressor.graph.passes.fuse.attention import Block
from compressor.graph.passes.fuse.links import Links


def flatten(graph: onnx.GraphProto, blocks: list[Block], contexts: list[str], builder: Builder, batch: str) -> None:
    """Insert the two reshapes, in place; `contexts` are the blocks' results as rows already, `builder` in front."""
    links = Links(graph)
    entry = _source(blocks[0], links)
    width = int(links.weights[_bias(blocks[0].query, links)].dims[0])
    last = _last_norm(graph, contexts[-1])
    rows, texts = f"{entry}.rows", f"{last}.texts"
    to_rows = helper.make_node("Reshape", [entry, builder.ints(-1, width)], [rows], name="rows")
    shape = builder.op("Concat", batch, builder.ints(-1, width), axis=0)
    to_texts = helper.make_node("Reshape", [last, shape], [texts], name="texts")
    for node in graph.node:
        for index, name in enumerate(node.input):
            if name == entry:
                node.input[index] = rows
            elif name == last:
                node.input[index] = texts
    nodes = list(graph.node)
    _insert_after(nodes, entry, to_rows)
    _insert_after(nodes, last, to_texts)
    del graph.node[:]
    graph.node.extend(nodes)


def _source(block: Block, links: Links) -> str:
    """What query, key and value of a block are computed from."""
    sources: set[str] = set()
    for name in (block.query, block.key, block.value):
        add = links.makers[name]
        product = next((links.makers[value] for value in add.input if value in links.makers), None)
        if product is None or product.op_type != "MatMul":
            raise FusionError(f"expected query, key and value to be linear layers; found {add.op_type} after nothing.")
        sources.add(product.input[0])
    if len(sources) != 1:
        raise FusionError("expected query, key and value of a layer to share one input.")
    return sources.pop()


def _bias(name: str, links: Links) -> str:
    return next(str(value) for value in links.makers[name].input if value in links.weights)


def _last_norm(graph: onnx.GraphProto, context: str) -> str:
    """The output of the last layer: the second LayerNormalization below its attention."""
    reached = {context}
    norms: list[str] = []
    for node in graph.node:
        if reached.intersection(node.input):
            reached.update(node.output)
            if node.op_type == "LayerNormalization":
                norms.append(node.output[0])
    if len(norms) < 2:
        raise FusionError(f"expected 2 LayerNormalization nodes after the last attention, found {len(norms)}.")
    return norms[1]


def _insert_after(nodes: list[onnx.NodeProto], value: str, new: onnx.NodeProto) -> None:
    index = next(i for i, node in enumerate(nodes) if value in node.output)
    nodes.insert(index + 1, new)
