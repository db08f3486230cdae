"""Word embeddings as int8 with one scale a row, or as int4 with one scale for each few numbers of a row."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import GraphProto, NodeProto, TensorProto, helper, numpy_helper

from compressor.errors import PassError

Table = np.ndarray[Any, Any]
SMALLEST_TABLE = 64
"""Rows below which a table is left alone unless few bits are asked for: what is saved is less than its nodes take."""
BLOCK = 32
"""Numbers of a row that share a scale in four bits; the whole row where they do not divide it."""


def quantize_rows(table: Table) -> tuple[Table, Table]:
    """Symmetric int8 codes [rows, hidden] and float32 scales [rows, 1]; codes * scales is the table again.

    One scale a row bounds each entry's error by half of its own row's scale, so that a few large rows
    (special tokens) do not coarsen all others.
    """
    scales = np.abs(table).max(axis=1, keepdims=True).astype(np.float32) / np.float32(127)
    safe = np.where(scales == 0, np.float32(1), scales)
    return np.clip(np.rint(table / safe), -127, 127).astype(np.int8), safe


def quantize_blocks(table: Table) -> tuple[Table, Table]:
    """Symmetric four-bit codes, two a byte, uint8 [rows, hidden / 2 rounded up], and float32 scales [rows, blocks].

    The low half of byte j is the code of column j, the high half that of the column as far behind it as there are
    bytes; a code less 8, times its block's scale, is the entry again. An odd row ends with the code of a zero.
    """
    rows, hidden = table.shape
    block = BLOCK if hidden % BLOCK == 0 else hidden
    codes, scales = quantize_rows(table.reshape(-1, block))
    scales = scales * np.float32(127 / 7)
    codes = np.clip(np.rint(table.reshape(-1, block) / scales), -7, 7).astype(np.int8).reshape(rows, hidden) + 8
    filled = np.pad(codes, ((0, 0), (0, hidden % 2)), constant_values=8).astype(np.uint8)
    low, high = np.split(filled, 2, axis=1)
    return low | (high << 4), scales.reshape(rows, -1)


def quantize_embeddings(model: onnx.ModelProto, asked: str = "int8") -> dict[str, int] | None:
    """Store the table that `input_ids` look up in few bits, in place; returns its rows, bits and bytes saved.

    The graph looks up rows of codes and their scales, then multiplies: only rows in use are ever turned to float.
    `asked` is int4, int8, or auto for int8 where it pays. None if no such table is in the graph as a plain look-up (a
    fused embedding node has it inside).
    """
    graph = model.graph
    tables = {tensor.name: tensor for tensor in graph.initializer}
    for index, node in enumerate(graph.node):
        table = tables.get(node.input[0]) if node.op_type == "Gather" else None
        if table is None or len(table.dims) != 2 or table.data_type != TensorProto.FLOAT:
            continue
        if not _from_input_ids(graph, node.input[1]) or _axis(node) != 0:
            continue
        if table.dims[0] < SMALLEST_TABLE and asked == "auto":
            continue
        if sum(list(other.input).count(table.name) for other in graph.node) > 1:
            continue  # the head reads the same weights
        return _replace(graph, index, node, table, 4 if asked == "int4" else 8)
    return None


def require_embeddings(pass_name: str, asked: str, found: dict[str, int] | None) -> None:
    """Raise `PassError` if embeddings of few bits were asked for and none were found."""
    if asked in ("int8", "int4") and found is None:
        raise PassError(
            f"{pass_name}: embeddings: {asked} found no word embeddings that are looked up by a plain Gather: take it "
            "out, or fuse without the embedding layer."
        )


def _replace(graph: GraphProto, index: int, node: NodeProto, table: TensorProto, bits: int) -> dict[str, int]:
    values = numpy_helper.to_array(table)
    new, tensors = (_four_bits if bits == 4 else _eight_bits)(node, table.name, values)
    before = table.ByteSize()
    graph.initializer.remove(table)
    graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in tensors.items())
    graph.node.remove(node)
    for offset, entry in enumerate(new):
        graph.node.insert(index + offset, entry)
    saved = before - sum(array.nbytes for array in tensors.values())
    return {"rows": len(values), "bits": bits, "bytes_saved": saved}


def _eight_bits(node: NodeProto, name: str, values: Table) -> tuple[list[NodeProto], dict[str, Table]]:
    """The look-up of int8 rows and their scales: nodes, and weights by name."""
    ids, output = node.input[1], node.output[0]
    codes, scales = quantize_rows(values)
    nodes = [
        helper.make_node("Gather", [f"{name}_int8", ids], [f"{output}_int8"], f"{node.name}_int8"),
        helper.make_node("Cast", [f"{output}_int8"], [f"{output}_codes"], f"{node.name}_codes", to=TensorProto.FLOAT),
        helper.make_node("Gather", [f"{name}_scales", ids], [f"{output}_scales"], f"{node.name}_scales"),
        helper.make_node("Mul", [f"{output}_codes", f"{output}_scales"], [output], f"{node.name}_rows"),
    ]
    return nodes, {f"{name}_int8": codes, f"{name}_scales": scales}


def _four_bits(node: NodeProto, name: str, values: Table) -> tuple[list[NodeProto], dict[str, Table]]:
    """The same with two codes a byte; a product gives each number its block's scale, whatever the rank of the ids."""
    ids, output = node.input[1], node.output[0]
    codes, scales = quantize_blocks(values)
    blocks = scales.shape[1]
    tensors = {
        f"{name}_int4": codes,
        f"{name}_scales": scales,
        f"{name}_sixteen": np.asarray(16, np.uint8),
        f"{name}_four": np.asarray(4, np.uint8),
        f"{name}_eight": np.asarray(8, np.float32),
        f"{name}_blocks": np.kron(np.eye(blocks), np.ones((1, values.shape[1] // blocks))).astype(np.float32),
    }
    halves = [f"{output}_low", f"{output}_high"]
    both, wide = f"{output}_both", f"{output}_wide"
    filled, cut = both, []
    if values.shape[1] % 2:  # the last number of a row only fills its byte
        filled, last = f"{output}_filled", f"{name}_last"
        tensors |= {f"{name}_first": np.asarray([0], np.int64), last: np.asarray([-1], np.int64)}
        cut = [helper.make_node("Slice", [filled, f"{name}_first", last, last], [both], f"{node.name}_cut")]
    nodes = [
        helper.make_node("Gather", [f"{name}_int4", ids], [f"{output}_int4"], f"{node.name}_int4"),
        helper.make_node("Mod", [f"{output}_int4", f"{name}_sixteen"], halves[:1], f"{node.name}_low"),
        helper.make_node("BitShift", [f"{output}_int4", f"{name}_four"], halves[1:], f"{node.name}_high",
                         direction="RIGHT"),
        helper.make_node("Concat", halves, [filled], f"{node.name}_both", axis=-1),
        *cut,
        helper.make_node("Cast", [both], [wide], f"{node.name}_wide", to=TensorProto.FLOAT),
        helper.make_node("Sub", [wide, f"{name}_eight"], [f"{output}_codes"], f"{node.name}_codes"),
        helper.make_node("Gather", [f"{name}_scales", ids], [f"{output}_scales"], f"{node.name}_scales"),
        helper.make_node("MatMul", [f"{output}_scales", f"{name}_blocks"], [f"{output}_spread"], f"{node.name}_spread"),
        helper.make_node("Mul", [f"{output}_codes", f"{output}_spread"], [output], f"{node.name}_rows"),
    ]  # fmt: skip
    return nodes, tensors


def _axis(node: NodeProto) -> int:
    return next((attribute.i for attribute in node.attribute if attribute.name == "axis"), 0)


def _from_input_ids(graph: GraphProto, name: str) -> bool:
    """Whether a tensor is `input_ids`, as it is or cast to another integer type."""
    if name == "input_ids":
        return True
    return any(
        name in node.output and node.op_type == "Cast" and _from_input_ids(graph, node.input[0]) for node in graph.node
    )
