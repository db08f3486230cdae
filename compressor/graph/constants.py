"""Constants that an exporter leaves in a graph and that no device wants."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import numpy_helper

MASKED = -10000.0
"""Added to the score of a masked position; its softmax is 0 in float32 and it fits into float16."""
_HUGE = 1e30


def replace_lowest_numbers(model: onnx.ModelProto) -> int:
    """Replace the lowest float (an attention mask by `finfo.min`, or -inf) by -10000; how many constants changed."""
    changed = 0
    for tensor in _small_float_tensors(model.graph):
        values = numpy_helper.to_array(tensor)
        if not (values <= -_HUGE).any():
            continue
        replaced = np.where(values <= -_HUGE, np.float32(MASKED), values).astype(values.dtype)
        tensor.CopyFrom(numpy_helper.from_array(replaced.reshape(values.shape), tensor.name))
        changed += 1
    return changed


def _small_float_tensors(graph: onnx.GraphProto) -> list[onnx.TensorProto]:
    tensors = list(graph.initializer)
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.TENSOR:
                tensors.append(attribute.t)
            elif attribute.type == onnx.AttributeProto.GRAPH:
                tensors.extend(_small_float_tensors(attribute.g))
    return [tensor for tensor in tensors if tensor.data_type == onnx.TensorProto.FLOAT and np.prod(tensor.dims) <= 4]
