"""Word embeddings as int8 with one scale a row."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import GraphProto, NodeProto, TensorProto, helper, numpy_helper

from compressor.errors import PassError

SMALLEST_TABLE = 64
"""Rows below which a table is left alone (segments)."""


def quantize_rows(table: np.ndarray[Any, Any]) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Symmetric int8 codes [rows, hidden] and float32 scales [rows, 1]; codes * scales is the table again.

    One scale a row bounds each entry's error by half of its own row's scale, so that a few large rows
    (special tokens) do not coarsen all others.
    """
    scales = np.abs(table).max(axis=1, keepdims=True).astype(np.float32) / np.float32(127)
    safe = np.where(scales == 0, np.float32(1), scales)
    return np.clip(np.rint(table / safe), -127, 127).astype(np.int8), safe


def quantize_embeddings(model: onnx.ModelProto) -> dict[str, int] | None:
    """Store the table that `input_ids` look up as int8 rows, in place; returns its rows and bytes saved.

    The graph looks up int8 rows and their scales, then multiplies: only rows in use are ever turned to float.
    None if no such table is in the graph as a plain look-up (a fused embedding node has it inside).
    """
    graph = model.graph
    tables = {tensor.name: tensor for tensor in graph.initializer}
    for index, node in enumerate(graph.node):
        table = tables.get(node.input[0]) if node.op_type == "Gather" else None
        if table is None or len(table.dims) != 2 or table.data_type != TensorProto.FLOAT:
            continue
        if table.dims[0] < SMALLEST_TABLE or not _from_input_ids(graph, node.input[1]) or _axis(node) != 0:
            continue
        if sum(list(other.input).count(table.name) for other in graph.node) > 1:
            continue  # the head reads the same weights
        return _replace(graph, index, node, table)
    return None


def require_embeddings(pass_name: str, asked: str, found: dict[str, int] | None) -> None:
    """Raise `PassError` if int8 embeddings were asked for and none were found."""
    if asked == "int8" and found is None:
        raise PassError(
            f"{pass_name}: embeddings: int8 found no word embeddings that are looked up by a plain Gather: take it "
            "out, or fuse without the embedding layer."
        )


def _replace(graph: GraphProto, index: int, node: NodeProto, table: TensorProto) -> dict[str, int]:
    codes, scales = quantize_rows(numpy_helper.to_array(table))
    name, ids, output = table.name, node.input[1], node.output[0]
    new = [
        helper.make_node("Gather", [f"{name}_int8", ids], [f"{output}_int8"], name=f"{node.name}_int8"),
        helper.make_node("Cast", [f"{output}_int8"], [f"{output}_codes"], f"{node.name}_codes", to=TensorProto.FLOAT),
        helper.make_node("Gather", [f"{name}_scales", ids], [f"{output}_scales"], name=f"{node.name}_scales"),
        helper.make_node("Mul", [f"{output}_codes", f"{output}_scales"], [output], name=f"{node.name}_rows"),
    ]
    before = table.ByteSize()
    graph.initializer.remove(table)
    graph.initializer.append(numpy_helper.from_array(codes, f"{name}_int8"))
    graph.initializer.append(numpy_helper.from_array(scales, f"{name}_scales"))
    graph.node.remove(node)
    for offset, entry in enumerate(new):
        graph.node.insert(index + offset, entry)
    return {"rows": int(codes.shape[0]), "bytes_saved": before - codes.nbytes - scales.nbytes}


def _axis(node: NodeProto) -> int:
    return next((attribute.i for attribute in node.attribute if attribute.name == "axis"), 0)


def _from_input_ids(graph: GraphProto, name: str) -> bool:
    """Whether a tensor is `input_ids`, as it is or cast to another integer type."""
    if name == "input_ids":
        return True
    return any(
        name in node.output and node.op_type == "Cast" and _from_input_ids(graph, node.input[0]) for node in graph.node
    )
