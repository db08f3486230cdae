"""Fusing a length-adaptive graph: MultiHeadAttention wherever nobody looks at the probabilities."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import onnx
from onnx import helper

from compressor.graph.adaptive.attention import Heads
from compressor.graph.adaptive.expand import LAYER
from compressor.graph.builder import Builder
from compressor.graph.passes.fuse.attention import multi_head
from compressor.graph.passes.fuse.gelu import fuse_gelu
from compressor.models.families import family_of


def fuse(model: onnx.ModelProto, config: Mapping[str, Any]) -> dict[str, int]:
    """Rewrite a graph in place; how many attentions and GELUs were fused."""
    family = family_of(config)
    count, layers = family.head_count(config), family.layer_count(config)
    size = family.hidden_size(config) // count
    nodes = {node.name: node for node in model.graph.node}
    attention = 0
    for layer in range(layers):
        node = nodes.get(LAYER.format(layer))
        full = _body(node, "else_branch") if node is not None else None
        attention += full is not None and _fuse_full(full, model, count, size)
    return {"attention": attention, "gelu": fuse_gelu(model.graph)}


def _fuse_full(full: onnx.GraphProto, model: onnx.ModelProto, count: int, size: int) -> bool:
    """Put MultiHeadAttention into the branch that keeps all tokens; whether the branch was as exported."""
    plain_attention = [node for node in full.node if node.op_type == "If"]
    heads = _heads(plain_attention[0], count, size) if len(plain_attention) == 1 else None
    if heads is None:
        return False
    opset = next(entry.version for entry in model.opset_import if entry.domain == "")
    builder = Builder(f"{full.name}/fused", opset)
    context = multi_head(builder, heads)
    old = plain_attention[0].output[0]
    builder.nodes.append(helper.make_node("Identity", [context], [old], name=f"{full.name}/fused/Identity"))
    nodes = [*builder.nodes, *(node for node in full.node if node is not plain_attention[0])]
    del full.node[:]
    full.node.extend(nodes)
    present = {tensor.name for tensor in model.graph.initializer}
    model.graph.initializer.extend(tensor for name, tensor in builder.constants.items() if name not in present)
    return True


def _heads(attention: onnx.NodeProto, count: int, size: int) -> Heads | None:
    """The names that the exported attention of a layer reads."""
    masked, plain = _body(attention, "then_branch"), _body(attention, "else_branch")
    if masked is None or plain is None:
        return None
    inside = {output for node in plain.node for output in node.output}
    split = [node.input[0] for node in plain.node if node.op_type == "Reshape" and node.input[0] not in inside]
    batch = [node.input[0] for node in plain.node if node.op_type == "Concat"]
    real = [node.input[0] for node in masked.node if node.op_type == "ReduceMax"]
    if len(split) != 3 or not batch or not real:
        return None
    return Heads(*split, real[0], attention.input[0], batch[0], count, size)


def _body(node: onnx.NodeProto, name: str) -> onnx.GraphProto | None:
    return next((entry.g for entry in node.attribute if entry.name == name), None)
