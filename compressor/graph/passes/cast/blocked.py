"""Which nodes must stay float32 in a float16 graph."""

from __future__ import annotations

from collections.abc import Iterable

from onnx import ModelProto, NodeProto
from onnxruntime.transformers.float16 import DEFAULT_OP_BLOCK_LIST

from compressor.graph import stopping
from compressor.graph.adaptive.attention import FIRST
from compressor.graph.passes.nodes import all_nodes, bodies

UNSAFE_OPS = frozenset(DEFAULT_OP_BLOCK_LIST) | {"Floor", "Round", "Ceil", "Pow", "Sqrt", "ReduceMean"}
"""Operators without a float16 form everywhere, roundings, and the squares of a LayerNorm that was not fused."""
CHOOSERS = frozenset({"TopK", "ArgMax", "NonZero"})
"""Operators that choose tokens; what they choose by must not be rounded."""
SOURCES = frozenset({"Softmax", "Attention", "MultiHeadAttention", "LayerNormalization", "SkipLayerNormalization"})
"""Where the walk back from a chooser ends: attention probabilities and hidden states are float16."""
ARITHMETIC = frozenset(
    {"Add", "Sub", "Mul", "Div", "Cast", "Clip", "Min", "Max", "Where", "ReduceSum", "ReduceMax", "ReduceMin",
     "Squeeze", "Unsqueeze", "Reshape", "Slice", "Gather", "Concat", "Expand", "Split", "Neg", "Identity"}
)  # fmt: skip
"""Operators through which the dial's and the mask's counts are followed."""


def blocked_nodes(model: ModelProto) -> set[str]:
    """Names of the nodes that stay float32: the dials' arithmetic, sums of the mask, and what is chosen by.

    Two walks. Forwards from `keep`, through arithmetic, until integers come out. Backwards from every TopK (and
    its like) to the attention probabilities: sums over all heads and queries reach thousands, where float16 has
    steps of more than one. So also from where a run may stop, and what it answers there. A sum of the mask counts
    tokens, and float16 cannot count beyond 2048.
    """
    nodes = list(all_nodes(model))
    producers = {name: node for node in nodes for name in node.output if name}
    consumers: dict[str, list[NodeProto]] = {}
    for node in nodes:
        for name in node.input:
            consumers.setdefault(name, []).append(node)
    blocked = {node.name for node in nodes if node.op_type in UNSAFE_OPS}
    blocked |= _forwards("keep", consumers)
    blocked |= _mask_sums("attention_mask", consumers)
    answers, stops = stopping.deciding(model)
    blocked |= answers
    blocked |= _backwards((node for node in nodes if node.op_type in CHOOSERS or node.name in stops), producers)
    return blocked


def _forwards(start: str, consumers: dict[str, list[NodeProto]]) -> set[str]:
    found: set[str] = set()
    waiting = [start]
    while waiting:
        for node in consumers.get(waiting.pop(), []):
            if node.name not in found and node.op_type in ARITHMETIC | UNSAFE_OPS:
                found.add(node.name)
                if not _leaves_floats(node):
                    waiting.extend(node.output)
    return found


def _mask_sums(start: str, consumers: dict[str, list[NodeProto]]) -> set[str]:
    """Sums over the mask, with the casts and reshapes between the mask and them."""
    shapes = {"Cast", "Squeeze", "Unsqueeze", "Reshape", "Slice", "Identity"}
    found: set[str] = set()
    waiting: list[tuple[str, tuple[str, ...]]] = [(start, ())]
    while waiting:
        name, path = waiting.pop()
        for node in consumers.get(name, []):
            if node.op_type == "ReduceSum":
                found |= {node.name, *path} | {
                    entry for output in node.output for entry in _forwards(output, consumers)
                }
            elif node.op_type in shapes and node.name not in path:
                waiting.extend((output, (*path, node.name)) for output in node.output)
    return found


def _backwards(choosers: Iterable[NodeProto], producers: dict[str, NodeProto]) -> set[str]:
    starts = list(choosers)
    found = {node.name for node in starts}
    waiting = [name for node in starts for name in node.input]
    seen: set[str] = set()
    while waiting:
        name = waiting.pop()
        node = producers.get(name)
        if node is None or name in seen or _is_source(node):
            continue
        seen.add(name)
        if node.op_type == "If":  # made in the branches; its other outputs are none of the chooser's
            position = list(node.output).index(name)
            waiting.extend(body.output[position].name for body in bodies(node))
        else:
            found.add(node.name)
            waiting.extend(node.input)
    return found


def _is_source(node: NodeProto) -> bool:
    """Whether the walk back ends here: at float16 probabilities, or at one token's scores (its few stay float32)."""
    if f"/{FIRST}/" in node.name:
        return node.op_type == "MatMul"
    return node.op_type in SOURCES


def _leaves_floats(node: NodeProto) -> bool:
    """Whether a node is a Cast to something else than float32."""
    return node.op_type == "Cast" and any(entry.name == "to" and entry.i != 1 for entry in node.attribute)
