"""Finding attention in a stock graph, and MultiHeadAttention in its place.

The pattern is the mathematics itself, so that it fits every family: a Softmax over a product of two computed values,
and a product of its result with a third; the three come from linear layers with a bias.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import onnx
from onnx import TensorProto

from compressor.graph.adaptive.attention import Heads
from compressor.graph.builder import MICROSOFT, Builder
from compressor.graph.constants import MASKED
from compressor.graph.passes.fuse.links import Links

_SCORES = ("Add", "Where", "Div", "Mul", "Cast")
_HEADS = ("Transpose", "Reshape", "Div", "Mul")


@dataclass(frozen=True)
class Block:
    """One attention of a stock graph: names of the values between linear layers, each [batch, length, hidden]."""

    query: str
    key: str
    value: str
    context: str


def find_blocks(graph: onnx.GraphProto) -> list[Block]:
    """The attentions of a graph, in order."""
    links = Links(graph)
    found = [_block(node, links) for node in graph.node if node.op_type == "Softmax"]
    return [block for block in found if block is not None]


def _block(softmax: onnx.NodeProto, links: Links) -> Block | None:
    scores = _climb(softmax.input[0], links, _SCORES, "MatMul")
    if scores is None:
        return None
    product = links.user(softmax.output[0], "MatMul")
    transpose = links.user(product.output[0], "Transpose") if product is not None else None
    reshape = links.user(transpose.output[0], "Reshape") if transpose is not None else None
    if product is None or reshape is None:
        return None
    query, key = (_climb(name, links, _HEADS, "Add") for name in scores.input)
    value = _climb(product.input[1], links, _HEADS, "Add")
    if query is None or key is None or value is None:
        return None
    return Block(query.output[0], key.output[0], value.output[0], reshape.output[0])


def _climb(name: str, links: Links, through: tuple[str, ...], target: str) -> onnx.NodeProto | None:
    """The nearest maker of type `target` above a value, through nodes that reshape, scale or mask it."""
    for _ in range(8):
        node = links.makers.get(name)
        if node is None:
            return None
        if node.op_type == target and not (target == "Add" and not _is_biased(node, links)):
            return node
        if node.op_type not in through:
            return None
        computed = [value for value in node.input if not links.is_constant(value)]
        # a mask is the first input of Where and any input of Add: the scores are the one that leads to a product
        options = [value for value in computed if _leads_to_product(value, links)] or computed
        if not options:
            return None
        name = options[0]
    return None


def _is_biased(node: onnx.NodeProto, links: Links) -> bool:
    return any(name in links.weights for name in node.input)


def _leads_to_product(name: str, links: Links) -> bool:
    for _ in range(6):
        node = links.makers.get(name)
        if node is None:
            return False
        if node.op_type == "MatMul":
            return True
        if node.op_type not in (*_SCORES, *_HEADS):
            return False
        name = next((value for value in node.input if not links.is_constant(value)), "")
    return False


def multi_head(builder: Builder, heads: Heads, *, masked: bool) -> str:
    """MultiHeadAttention over query, key and value [batch, length, heads·size]; the result likewise.

    The mask is the raw attention mask, never a length, or one for each query. (ONNX Runtime 1.14 and newer.)
    """
    b = builder
    inputs = [heads.query, heads.key, heads.value]
    attributes: dict[str, object] = {"num_heads": heads.count}
    if masked:
        alive = b.op("Unsqueeze", b.reduce("ReduceMax", heads.real, 1, keepdims=True), b.ints(2))
        inputs[0] = b.op("Mul", heads.query, alive)  # a text of padding alone attends evenly, as in PyTorch
    seen = heads.real if masked else ""
    if heads.unseen:
        near = b.op("Sub", b.float(1.0), heads.unseen)
        seen = b.op("Mul", near, b.op("Unsqueeze", seen, b.ints(1))) if masked else near
    if seen:
        inputs += ["", b.op("Cast", seen, to=TensorProto.INT32)]
        attributes["mask_filter_value"] = MASKED
    return b.op("MultiHeadAttention", *inputs, domain=MICROSOFT, **attributes)


def as_texts(builder: Builder, heads: Heads) -> Heads:
    """The same attention with query, key and value as [batch, length, heads·size]."""
    shape = builder.op("Concat", heads.batch, builder.ints(-1, heads.width), axis=0)
    query, key, value = (builder.op("Reshape", name, shape) for name in (heads.query, heads.key, heads.value))
    return replace(heads, query=query, key=key, value=value)
