"""Fusing a graph traced in rows: MultiHeadAttention wherever nobody looks at the probabilities."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import onnx

from compressor.graph.adaptive.attention import Heads
from compressor.graph.adaptive.expand import KEPT, LAYER
from compressor.graph.builder import Builder, opset_of
from compressor.graph.passes.fuse.attention import as_texts, multi_head
from compressor.graph.passes.fuse.gelu import fuse_gelu
from compressor.models.kinds.widths import layer_widths


def fuse(model: onnx.ModelProto, config: Mapping[str, Any], *, attention: bool = True) -> dict[str, int]:
    """Rewrite a graph in place; how many attentions and GELUs were fused.

    `attention`: False leaves attention as plain products, for runtimes without the operator.
    """
    if not attention:
        return {"gelu": fuse_gelu(model.graph)}
    fused = 0
    for layer, width in enumerate(layer_widths(config)):
        fused += _fuse_layer(model, LAYER.format(layer), width.heads, width.head_size)
    return {"attention": fused, "gelu": fuse_gelu(model.graph)}


def _fuse_layer(model: onnx.ModelProto, name: str, count: int, size: int) -> bool:
    """Put MultiHeadAttention into the two bodies that keep all tokens; whether they were as exported."""
    node = next((node for node in model.graph.node if node.name == name), None)
    bodies = {body.name: body for body in _bodies(node)} if node is not None else {}
    full, masked = bodies.get(f"{name}/full"), bodies.get(f"{name}/other/masked")
    heads = _heads(full, masked, model, count, size) if full is not None and masked is not None else None
    if node is None or full is None or masked is None or heads is None:
        return False
    opset = opset_of(model)
    before = Builder(f"{name}/texts", opset)
    texts = as_texts(before, heads)
    for body in (full, masked):
        inner = Builder(f"{body.name}/fused", opset, before.constants)
        multi_head(inner, texts, masked=body is masked)
        old = body.output[0].name
        inner.nodes[-1].output[0] = old
        nodes = [*inner.nodes, *_without(body, old)]
        del body.node[:]
        body.node.extend(nodes)
    _fuse_kept(bodies, name, texts, Builder(name, opset, before.constants))
    nodes = list(model.graph.node)
    at = next(index for index, entry in enumerate(nodes) if entry.name == name)
    nodes[at:at] = before.nodes
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    present = {tensor.name for tensor in model.graph.initializer}
    model.graph.initializer.extend(tensor for key, tensor in before.constants.items() if key not in present)
    return True


def _fuse_kept(bodies: Mapping[str, onnx.GraphProto], name: str, texts: Heads, builder: Builder) -> None:
    """The same where only rows that stay attend, whose queries come as rows."""
    for kind in ("full", "masked"):
        body = bodies.get(f"{name}/other/drop/{KEPT}/{kind}")
        if body is None:
            continue
        rows = next(node.input[0] for node in body.node if node.op_type == "Reshape")
        inner = Builder(f"{body.name}/fused", builder.opset, builder.constants)
        shape = inner.op("Concat", texts.batch, inner.ints(-1, texts.width), axis=0)
        heads = replace(texts, query=inner.op("Reshape", rows, shape))
        multi_head(inner, heads, masked=kind == "masked")
        inner.nodes[-1].output[0] = body.output[0].name
        del body.node[:]
        body.node.extend(inner.nodes)


def _bodies(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    """All bodies inside a node, at any depth."""
    for entry in node.attribute:
        if entry.type == onnx.AttributeProto.GRAPH:
            yield entry.g
            for inner in entry.g.node:
                yield from _bodies(inner)


def _heads(
    full: onnx.GraphProto, masked: onnx.GraphProto, model: onnx.ModelProto, count: int, size: int
) -> Heads | None:
    """The names that the exported attention of a layer reads."""
    makers = {output: node for node in model.graph.node for output in node.output}
    split = [makers.get(node.input[0]) for node in full.node if node.op_type == "Transpose"]
    parts = [node for node in split if node is not None and node.op_type == "Reshape"]
    real = [node.input[0] for node in masked.node if node.op_type == "ReduceMax"]
    if len(parts) != 3 or not real:
        return None
    query, key, value = (node.input[0] for node in parts)
    batch = makers[parts[0].input[1]].input[0]
    unseen = [node.input[0] for node in full.node if node.op_type == "Unsqueeze"]
    return Heads(query, key, value, real[0], batch, count, size, unseen[0] if unseen else "")


def _without(body: onnx.GraphProto, output: str) -> list[onnx.NodeProto]:
    """The body's nodes less those that only serve one of its outputs."""
    wanted = {value.name for value in body.output} - {output}
    kept = []
    for node in reversed(body.node):
        if wanted.intersection(node.output):
            kept.append(node)
            wanted.update(node.input)
    return kept[::-1]
