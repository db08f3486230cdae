"""Attention over flat rows as graph nodes: the two bodies of a length-adaptive layer.

Where a layer drops tokens, probabilities are computed, summed and sorted. Where it keeps all, nobody looks at the
probabilities, so that a fused operator can take the place of the plain form written here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from onnx import TensorProto

from compressor.graph.builder import Builder
from compressor.graph.constants import MASKED

FLOAT, INT64 = TensorProto.FLOAT, TensorProto.INT64


@dataclass(frozen=True)
class Heads:
    """Shape of one attention: its names of query, key, value [rows, heads·size] and of what masks them."""

    query: str
    key: str
    value: str
    real: str  # float32 [batch, length]
    padded: str  # bool [1]: whether `real` has a zero
    batch: str  # int64 [1]
    count: int
    size: int

    @property
    def width(self) -> int:
        """Width of the rows."""
        return self.count * self.size

    @property
    def scale(self) -> float:
        """1/√size, by which scores are multiplied before the softmax."""
        return float(self.size**-0.5)


def keep_all(builder: Builder, heads: Heads) -> str:
    """Plain attention, [rows, heads·size]; the mask is only added where there is padding."""

    def context(body: Builder, masked: bool) -> str:
        return _weighted(body, heads, _probabilities(body, heads, masked))

    return either(builder, heads, context)


def either(builder: Builder, heads: Heads, make: Callable[[Builder, bool], str]) -> str:
    """`make` with and without the mask, one of them run by whether there is padding."""
    masked, plain = builder.body("masked"), builder.body("plain")
    bodies = (masked, [make(masked, True)]), (plain, [make(plain, False)])
    return builder.branch(heads.padded, [FLOAT], *bodies)[0]


@dataclass(frozen=True)
class Chosen:
    """What attention with a choice gives: the context of all rows, and the order of the tokens of each text."""

    context: str  # [rows, heads·size]
    order: str  # int64 [batch, length], the most significant first


def choose(builder: Builder, heads: Heads, length: str, *, protect: bool) -> Chosen:
    """Attention and the order of significance: attention received, summed over heads and real queries.

    Padding comes after every real token, equal ones in their present order, position 0 first if `protect`.
    """
    b = builder
    probabilities = either(b, heads, lambda body, masked: _probabilities(body, heads, masked))
    scores = _significance(b.body("significance"), heads, probabilities, length, protect)
    b.nodes += scores[0].nodes
    return Chosen(_weighted(b, heads, probabilities), scores[1])


def _significance(
    builder: Builder, heads: Heads, probabilities: str, length: str, protect: bool
) -> tuple[Builder, str]:
    """Column sums as a product with a row of query weights, then a full sort; stays float32 in a float16 graph."""
    b = builder
    shape = b.op("Concat", heads.batch, b.ints(heads.count), length, axis=0)
    queries = b.op("Expand", b.op("Unsqueeze", heads.real, b.ints(1)), shape)
    weights = b.op("Unsqueeze", queries, b.ints(2))  # [batch, heads, 1, length]
    sums = b.op("MatMul", weights, probabilities)  # [batch, heads, 1, length]
    received = b.op("ReduceSum", sums, b.ints(1, 2), keepdims=0)
    ranked = b.op("Where", b.op("Cast", heads.real, to=TensorProto.BOOL), received, b.float(-1.0))
    if protect:
        rest = b.slice(ranked, b.ints(1), length, 1)
        first = b.op("Add", b.op("Mul", b.slice(ranked, b.ints(0), b.ints(1), 1), b.float(0.0)), b.float(3e38))
        ranked = b.op("Concat", first, rest, axis=1)
    return b, b.op("TopK", ranked, length, axis=1, outputs=2)[1]


def _probabilities(b: Builder, heads: Heads, masked: bool) -> str:
    """Softmax of the scores [batch, heads, length, length]; a text of padding alone attends evenly, as in PyTorch."""
    query = b.op("Mul", _split(b, heads, heads.query, [0, 2, 1, 3]), b.float(heads.scale))
    key = _split(b, heads, heads.key, [0, 2, 3, 1])
    if masked:
        alive = b.op("Unsqueeze", b.reduce("ReduceMax", heads.real, 1, keepdims=True), b.ints(2, 3))
        query = b.op("Mul", query, alive)
    scores = b.op("MatMul", query, key)
    if masked:
        bias = b.op("Mul", b.op("Sub", b.float(1.0), heads.real), b.float(MASKED))
        scores = b.op("Add", scores, b.op("Unsqueeze", bias, b.ints(1, 2)))
    return b.op("Softmax", scores, axis=-1)


def _weighted(b: Builder, heads: Heads, probabilities: str) -> str:
    """The values weighted by the probabilities, heads side by side, as rows."""
    context = b.op("MatMul", probabilities, _split(b, heads, heads.value, [0, 2, 1, 3]))
    return b.op("Reshape", b.op("Transpose", context, perm=[0, 2, 1, 3]), b.ints(-1, heads.width))


def _split(b: Builder, heads: Heads, rows: str, order: list[int]) -> str:
    """[rows, heads·size] to [batch, length, heads, size], axes then in the given order."""
    shape = b.op("Concat", heads.batch, b.ints(-1, heads.count, heads.size), axis=0)
    return b.op("Transpose", b.op("Reshape", rows, shape), perm=order)
