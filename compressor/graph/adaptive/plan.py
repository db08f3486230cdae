"""The dial's arithmetic as graph nodes: how many tokens each layer keeps, and which work each layer can save.

All of it is on [layers] or [batch] values in float32; the nodes' names begin with `dial`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from onnx import TensorProto

from compressor.graph.builder import Builder

NAME = "dial"


@dataclass(frozen=True)
class Plan:
    """Names of values that the layers read."""

    counts: str  # int64 [layers]: tokens that each layer keeps
    lengths: str  # int64 [layers]: tokens that each layer is given
    drops: str  # bool [layers]: whether a layer keeps fewer than it is given
    padded: str  # bool [layers]: whether padding may be among the tokens that a layer is given
    simple: str  # bool [layers]: neither of both
    batch: str  # int64 [1]
    texts: str  # int64 [batch, 1]: 0, 1, 2 ...
    real: str  # float32 [batch, length]: 1 for real tokens, 0 for padding
    rows: str  # int64 [batch·length]: 0, 1, 2 ...

    def starts(self, builder: Builder, layer: int) -> str:
        """Where each text's rows begin behind a layer; int64 [batch]."""
        count = builder.op("Gather", self.counts, builder.ints(layer))
        return builder.op("Reshape", builder.op("Mul", self.texts, count), builder.ints(-1))


@dataclass(frozen=True)
class WholePlan:
    """The same where no layer ever drops a token."""

    padded: str  # bool: whether padding is among the tokens
    batch: str  # int64 [1]
    real: str  # float32 [batch, length]
    first: str  # int64 [batch]: where each text's rows begin

    def starts(self, builder: Builder, layer: int) -> str:
        """The same behind every layer."""
        return self.first


def build_whole_plan(builder: Builder, attention_mask: str) -> WholePlan:
    """What attention has to know of the mask."""
    b = builder
    real = b.op("Cast", b.op("Cast", attention_mask, to=TensorProto.BOOL), to=TensorProto.FLOAT)
    padded = b.op("Less", b.reduce("ReduceMin", real), b.float(1.0))
    batch, length = b.ops("Split", 2, b.op("Shape", attention_mask), b.ints(1, 1))
    count, length = (b.op("Squeeze", value, b.ints(0)) for value in (batch, length))
    first = b.op("Range", b.constant(0, np.int64), b.op("Mul", count, length), length)
    return WholePlan(padded, batch, real, first)


def build_plan(builder: Builder, attention_mask: str, keep: str, *, layers: int, minimum: int, protect: bool) -> Plan:
    """k_i = clip(floor(keep_i·n + 0.5), minimum, k_{i-1}), k_0 = the padded length, n = the longest row's real tokens.

    Position 0 counts as real where it always stays (`protect`).
    """
    b = builder
    real = b.op("Cast", b.op("Cast", attention_mask, to=TensorProto.BOOL), to=TensorProto.FLOAT)
    shape = b.op("Shape", attention_mask)
    batch, length = b.ops("Split", 2, shape, b.ints(1, 1))
    real_counts = b.sum(real, 1)
    first = b.op("Squeeze", b.slice(real, b.ints(0), b.ints(1), 1), b.ints(1))
    if protect:
        counted = b.op("Add", real_counts, b.op("Sub", b.float(1.0), first))
        surely_real = b.op("Mul", real_counts, first)  # a padded position 0 stays whatever is dropped
    else:
        counted = surely_real = real_counts
    longest = b.reduce("ReduceMax", counted)
    shortest = b.reduce("ReduceMin", surely_real)
    wanted = b.op("Floor", b.op("Add", b.op("Mul", keep, longest), b.float(0.5)))
    wanted = b.op("Max", wanted, b.float(float(minimum)))
    wanted = b.op("Min", wanted, b.op("Cast", length, to=TensorProto.FLOAT))
    earlier = b.constant(np.tril(np.ones((layers, layers))), np.bool_)
    running = b.op("Where", earlier, b.op("Unsqueeze", wanted, b.ints(0)), b.float(2.0**24))
    smallest = b.reduce("ReduceMin", running, 1)
    counts = b.op("Cast", smallest, to=TensorProto.INT64)
    lengths = b.op("Slice", b.op("Concat", length, counts, axis=0), b.ints(0), b.ints(layers))
    shortest = b.op("Cast", shortest, to=TensorProto.INT64)
    count_all = b.op("Squeeze", b.op("Mul", batch, length), b.ints(0))
    texts = b.op("Range", b.constant(0, np.int64), b.op("Squeeze", batch, b.ints(0)), b.constant(1, np.int64))
    drops, padded = b.op("Less", counts, lengths), b.op("Less", shortest, lengths)
    return Plan(
        counts=counts,
        lengths=lengths,
        drops=drops,
        padded=padded,
        simple=b.op("Not", b.op("Or", drops, padded)),
        batch=batch,
        texts=b.op("Unsqueeze", texts, b.ints(1)),
        real=real,
        rows=b.op("Range", b.constant(0, np.int64), count_all, b.constant(1, np.int64)),
    )
