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


def drop_empty_axes(graph: onnx.GraphProto) -> None:
    """Take away `axes` without an axis, which means the same to a reduction and which ONNX Runtime 1.16 refuses."""
    for node in graph.node:
        for attribute in list(node.attribute):
            if attribute.type == onnx.AttributeProto.GRAPH:
                drop_empty_axes(attribute.g)
            elif attribute.name == "axes" and attribute.type == onnx.AttributeProto.INTS and not attribute.ints:
                node.attribute.remove(attribute)


def to_initializers(graph: onnx.GraphProto, element_type: int | None = None) -> None:
    """Turn the graph's Constant nodes (not those of bodies) into initializers; only of one element type if given."""
    for node in [node for node in graph.node if node.op_type == "Constant"]:
        tensor = _tensor_of(node.attribute[0])
        if tensor is not None and element_type in (None, tensor.data_type):
            tensor.name = node.output[0]
            graph.initializer.append(tensor)
            graph.node.remove(node)


def _tensor_of(attribute: onnx.AttributeProto) -> onnx.TensorProto | None:
    """The value of a Constant; None for strings and sparse tensors."""
    kinds = {"value_float": np.float32, "value_floats": np.float32, "value_int": np.int64, "value_ints": np.int64}
    if attribute.name == "value":
        copied: onnx.TensorProto = onnx.TensorProto.FromString(attribute.t.SerializeToString())
        return copied
    if attribute.name not in kinds:
        return None
    return numpy_helper.from_array(np.asarray(onnx.helper.get_attribute_value(attribute), dtype=kinds[attribute.name]))


def _small_float_tensors(graph: onnx.GraphProto) -> list[onnx.TensorProto]:
    tensors = list(graph.initializer)
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.TENSOR:
                tensors.append(attribute.t)
            elif attribute.type == onnx.AttributeProto.GRAPH:
                tensors.extend(_small_float_tensors(attribute.g))
    return [tensor for tensor in tensors if tensor.data_type == onnx.TensorProto.FLOAT and np.prod(tensor.dims) <= 4]
