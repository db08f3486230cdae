"""Attention as graph nodes: the bodies of a length-adaptive layer.

Where a layer drops tokens, probabilities are computed, summed and sorted. Where it keeps all, nobody looks at the
probabilities, so that a fused operator can take the place of the plain form written here. Bodies neither begin nor
end with a reshape: ONNX Runtime copies a value that only changes its shape at the border of a body.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from onnx import TensorProto

from compressor.graph.builder import Builder
from compressor.graph.constants import MASKED

FLOAT, INT64 = TensorProto.FLOAT, TensorProto.INT64
FIRST = "first"
"""The part of a body that ranks tokens by the first one's attention."""
_ALWAYS = 3e38
"""Significance of a token that always stays."""


@dataclass(frozen=True)
class Heads:
    """One attention: names of its query, key and value [batch, length, heads, size] and of what masks them."""

    query: str
    key: str
    value: str
    real: str  # float32 [batch, length]: 1 for real tokens, 0 for padding
    batch: str  # int64 [1]
    count: int
    size: int
    unseen: str = ""  # float32 [batch, length, length]: 1 where a token must not see another; "": all see all

    @property
    def width(self) -> int:
        """Width of all heads side by side."""
        return self.count * self.size

    @property
    def scale(self) -> float:
        """1/√size, by which scores are multiplied before the softmax."""
        return float(self.size**-0.5)


def attend(builder: Builder, heads: Heads, *, masked: bool) -> str:
    """Plain attention, with or without the mask: [batch, length, heads, size]."""
    return _weighted(builder, heads, _probabilities(builder, heads, masked))


def split_heads(builder: Builder, batch: str, rows: str, count: int, size: int) -> str:
    """[batch·length, heads·size] to [batch, length, heads, size]."""
    shape = builder.op("Concat", batch, builder.ints(-1, count, size), axis=0)
    return builder.op("Reshape", rows, shape)


@dataclass(frozen=True)
class Chosen:
    """What attention with a choice gives: the context of all rows, and the order of the tokens of each text."""

    context: str  # [batch·length, heads·size]
    order: str  # int64 [batch, length], the most significant first


def choose(builder: Builder, heads: Heads, padded: str, length: str, *, protect: bool) -> Chosen:
    """Attention and the order of significance: attention received, summed over heads and real queries.

    Padding comes after every real token, equal ones in their present order, position 0 first if `protect`.
    """
    b = builder
    masked, plain = b.body("masked"), b.body("plain")
    bodies = (masked, [_probabilities(masked, heads, True)]), (plain, [_probabilities(plain, heads, False)])
    probabilities = b.branch(padded, [FLOAT], *bodies)[0]
    significance = b.body("significance")
    received = _received(significance, heads, probabilities, length)
    is_real = significance.op("Cast", heads.real, to=TensorProto.BOOL)
    order = _order(significance, received, is_real, length, protect)
    b.nodes += significance.nodes
    context = b.op("Reshape", _weighted(b, heads, probabilities), b.ints(-1, heads.width))
    return Chosen(context, order)


def choose_by_first(
    builder: Builder, heads: Heads, query: str, key: str, starts: str, length: str, *, protect: bool
) -> str:
    """The order of significance [batch, length]: attention paid by the first real token, summed over heads.

    That token comes first, padding after every real token; position 0 before all others if `protect`. A product of
    the keys' rows with that token's query, laid out one head a column, gives the scores without a transpose.

    Args:
        builder: Where nodes go.
        heads: The attention.
        query: Its query as rows, [batch·length, heads·size].
        key: Its key likewise.
        starts: int64 [batch, 1], the row where each text begins.
        length: int64 [1].
        protect: Whether position 0 always stays.
    """
    b = builder.body(FIRST)
    first = b.op("ArgMax", heads.real, axis=1, keepdims=1)  # [batch, 1]
    own = b.op("Gather", query, b.op("Reshape", b.op("Add", first, starts), b.ints(-1)), axis=0)
    own_head = np.repeat(np.eye(heads.count), heads.size, axis=0) * heads.scale
    columns = b.op("Mul", b.op("Unsqueeze", own, b.ints(2)), b.constant(own_head, np.float32, "own_head"))
    shape = b.op("Concat", heads.batch, b.ints(-1, heads.width), axis=0)
    scores = b.op("MatMul", b.op("Reshape", key, shape), columns)  # [batch, length, heads]
    is_real = b.op("Cast", heads.real, to=TensorProto.BOOL)
    paid = b.op("Softmax", b.op("Where", b.op("Unsqueeze", is_real, b.ints(2)), scores, b.float(MASKED)), axis=1)
    always = b.op("Expand", b.float(_ALWAYS), b.op("Shape", first))
    received = b.op("ScatterElements", b.sum(paid, 2), first, always, axis=1)
    order = _order(b, received, is_real, length, protect)
    builder.nodes += b.nodes
    return order


def _received(b: Builder, heads: Heads, probabilities: str, length: str) -> str:
    """Column sums over heads and real queries [batch, length], as a product with a row of query weights."""
    shape = b.op("Concat", heads.batch, b.ints(heads.count), length, axis=0)
    queries = b.op("Expand", b.op("Unsqueeze", heads.real, b.ints(1)), shape)
    weights = b.op("Unsqueeze", queries, b.ints(2))  # [batch, heads, 1, length]
    sums = b.op("MatMul", weights, probabilities)  # [batch, heads, 1, length]
    return b.op("ReduceSum", sums, b.ints(1, 2), keepdims=0)


def _order(b: Builder, received: str, is_real: str, length: str, protect: bool) -> str:
    """A full sort by the attention received [batch, length]; stays float32 in a float16 graph."""
    ranked = b.op("Where", is_real, received, b.float(-1.0))
    if protect:
        rest = b.slice(ranked, b.ints(1), length, 1)
        first = b.op("Add", b.op("Mul", b.slice(ranked, b.ints(0), b.ints(1), 1), b.float(0.0)), b.float(_ALWAYS))
        ranked = b.op("Concat", first, rest, axis=1)
    return b.ops("TopK", 2, ranked, length, axis=1)[1]


def _probabilities(b: Builder, heads: Heads, masked: bool) -> str:
    """Softmax of the scores [batch, heads, length, length]; a text of padding alone attends evenly, as in PyTorch."""
    query = b.op("Mul", b.op("Transpose", heads.query, perm=[0, 2, 1, 3]), b.float(heads.scale))
    key = b.op("Transpose", heads.key, perm=[0, 2, 3, 1])
    if masked:
        alive = b.op("Unsqueeze", b.reduce("ReduceMax", heads.real, 1, keepdims=True), b.ints(2, 3))
        query = b.op("Mul", query, alive)
    scores = b.op("MatMul", query, key)
    if heads.unseen:
        apart = b.op("Unsqueeze", heads.unseen, b.ints(1))
        scores = b.op("Add", scores, b.op("Mul", apart, b.float(MASKED)))
    if masked:
        bias = b.op("Mul", b.op("Sub", b.float(1.0), heads.real), b.float(MASKED))
        scores = b.op("Add", scores, b.op("Unsqueeze", bias, b.ints(1, 2)))
    return b.op("Softmax", scores, axis=-1)


def _weighted(b: Builder, heads: Heads, probabilities: str) -> str:
    """The values weighted by the probabilities, [batch, length, heads, size]."""
    context = b.op("MatMul", probabilities, b.op("Transpose", heads.value, perm=[0, 2, 1, 3]))
    return b.op("Transpose", context, perm=[0, 2, 1, 3])
