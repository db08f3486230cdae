"""Which number formats a graph's weights are stored in."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx

_LEAST = 0.01
"""Smaller shares (scales, shapes) are left out."""


def weight_formats(path: Path) -> dict[str, float]:
    """Share (0 ... 1) of the weights' bytes by number format, the largest first; bodies of `If` count too."""
    sizes: Counter[str] = Counter()
    for tensor in _tensors(onnx.load(str(path)).graph):
        kind = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type)
        sizes[kind.name] += int(np.prod(tensor.dims, dtype=np.int64)) * kind.itemsize
    total = sum(sizes.values())
    return {name: round(size / total, 4) for name, size in sizes.most_common() if total and size / total >= _LEAST}


def _tensors(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    yield from graph.initializer
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                yield from _tensors(attribute.g)
            elif attribute.type == onnx.AttributeProto.TENSOR and node.op_type == "Constant":
                yield attribute.t
