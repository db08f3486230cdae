"""Walking an ONNX graph with the bodies of its control flow, and the weights that its nodes multiply by."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, helper

from compressor.errors import RequestError

WEIGHT_INPUT: Mapping[str, int] = {"MatMul": 1, "Gemm": 1, "Attention": 1, "LSTM": 1}
"""Which input of a product holds its weights [in, out]; of an LSTM those of its input, [directions, 4·hidden, in]."""
INTEGER_OPS = frozenset(
    {"MatMulInteger", "QLinearMatMul", "QGemm", "QAttention", "DynamicQuantizeMatMul", "MatMulIntegerToFloat",
     "DynamicQuantizeLSTM"}
)  # fmt: skip
"""Products that compute in int8 by themselves."""
WEIGHTS_ONLY = "MatMulNBits"
"""The product of float activations and weights of few bits."""


INTEGER_OUTPUTS: Mapping[str, tuple[int, ...]] = {"EmbedLayerNormalization": (1,)}
"""Outputs of fused operators that are integers."""


@dataclass(frozen=True)
class Product:
    """A node that multiplies activations by constant float32 weights of `rows` x `columns`."""

    node: NodeProto
    weight: str
    rows: int
    columns: int
    in_body: bool  # inside a branch of an If or a body of a Loop


def bodies(node: NodeProto) -> Iterator[GraphProto]:
    """The graphs that a node carries: branches of If, bodies of Loop and Scan."""
    for attribute in node.attribute:
        if attribute.type == AttributeProto.GRAPH:
            yield attribute.g
        elif attribute.type == AttributeProto.GRAPHS:
            yield from attribute.graphs


def graphs(graph: GraphProto) -> Iterator[GraphProto]:
    """A graph and, below it, all bodies of its nodes."""
    yield graph
    for node in graph.node:
        for body in bodies(node):
            yield from graphs(body)


def all_nodes(model: ModelProto) -> Iterator[NodeProto]:
    """Every node, those of bodies included."""
    for graph in graphs(model.graph):
        yield from graph.node


def name_nodes(model: ModelProto) -> None:
    """Give every node a name of its own, as tools that choose nodes by name need it."""
    taken: set[str] = set()
    for node in all_nodes(model):
        base = node.name or f"{node.op_type}_{node.output[0] if node.output else len(taken)}"
        name, count = base, 1
        while name in taken:
            name, count = f"{base}_{count}", count + 1
        node.name = name
        taken.add(name)


def declare_fused_outputs(model: ModelProto) -> None:
    """Write down, in place, that fused operators return float32, which ONNX's type inference does not know."""
    for graph in graphs(model.graph):
        known = {entry.name for entry in (*graph.value_info, *graph.output)}
        for node in graph.node:
            if node.domain in ("", "ai.onnx"):
                continue
            for index, name in enumerate(node.output):
                if name and name not in known and index not in INTEGER_OUTPUTS.get(node.op_type, ()):
                    graph.value_info.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, None))


def products(model: ModelProto) -> list[Product]:
    """All products with constant float32 weights, in graph order."""
    found: list[Product] = []

    def visit(graph: GraphProto, outer: Mapping[str, TensorProto], in_body: bool) -> None:
        known = {**outer, **{tensor.name: tensor for tensor in graph.initializer}}
        for node in graph.node:
            position = WEIGHT_INPUT.get(node.op_type)
            if position is not None and len(node.input) > position:
                weight = known.get(node.input[position])
                shape = None if weight is None else _rows_and_columns(node, weight)
                if weight is not None and shape is not None:
                    found.append(Product(node, weight.name, *shape, in_body))
            for body in bodies(node):
                visit(body, known, True)

    visit(model.graph, {}, False)
    return found


def _rows_and_columns(node: NodeProto, weight: TensorProto) -> tuple[int, int] | None:
    """Inputs and outputs of a product's weights; None: they are none that can be quantized."""
    if weight.data_type != TensorProto.FLOAT or len(weight.dims) != (3 if node.op_type == "LSTM" else 2):
        return None
    first, second = weight.dims[-2:]
    return (second, first) if node.op_type == "LSTM" else (first, second)


def drop_unread_weights(model: ModelProto) -> None:
    """Remove weights that nobody reads any more, those of bodies too, in place."""
    read = {name for node in all_nodes(model) for name in node.input}
    read |= {entry.name for graph in graphs(model.graph) for entry in (*graph.output, *graph.input)}
    for graph in graphs(model.graph):
        for tensor in [tensor for tensor in graph.initializer if tensor.name not in read]:
            graph.initializer.remove(tensor)


def integer_products(model: ModelProto) -> int:
    """How many products compute in int8: integer nodes, and MatMul or Gemm between dequantized inputs."""
    count = 0
    for graph in graphs(model.graph):
        dequantized = {name for node in graph.node if node.op_type == "DequantizeLinear" for name in node.output}
        for node in graph.node:
            if node.op_type in INTEGER_OPS:
                count += 1
            elif node.op_type in ("MatMul", "Gemm"):
                count += node.input[0] in dequantized and node.input[1] in dequantized
    return count


def is_quantized(model: ModelProto) -> bool:
    """Whether any node computes in int8, converts to or from it, or has weights of few bits."""
    marks = (
        INTEGER_OPS
        | {WEIGHTS_ONLY}
        | {"QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "QEmbedLayerNormalization"}
    )
    return any(node.op_type in marks for node in all_nodes(model))


def check_patterns(pass_name: str, patterns: Sequence[str], names: Sequence[str]) -> None:
    """Raise `RequestError` with the nearest of `names` for a pattern that fits none of them."""
    for pattern in patterns:
        if any(fnmatchcase(name, pattern) for name in names):
            continue
        plain = pattern.replace("*", "").replace("?", "")
        near = [name for name in names if plain.lower() in name.lower()][:3]
        near = near or difflib.get_close_matches(plain, names, n=3, cutoff=0.3) or list(names[:3])
        raise RequestError(
            f"{pass_name}: exclude '{pattern}' fits no node that the pass would change; near names: {', '.join(near)}."
        )
