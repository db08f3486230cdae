"""Layers trained for int8 in a graph: Q/DQ pairs with int8 weights, in the form that becomes integer products.

While a model is traced, each such layer is one marker; `expand_quantized` completes them. Standard operators alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import numpy as np
import onnx
import torch
from onnx import helper, numpy_helper
from torch import Tensor, nn
from torch.autograd import Function

from compressor.graph.adaptive.markers import DOMAIN
from compressor.graph.files import load, save
from compressor.graph.stopping import nest, unnest
from compressor.models.kinds.fake_quantize import LEVELS, weight_codes
from compressor.models.kinds.quantizers import QuantizedLinear, quantized_layers

LINEAR = "QuantizedLinear"
"""The marker: rows [rows, in], weight [out, in] and perhaps bias [out] -> [rows, out]."""


@contextmanager
def traced_as_markers(model: nn.Module) -> Iterator[None]:
    """Let every layer that rounds be one marker in a traced graph."""
    layers = quantized_layers(model).values()
    for layer in layers:
        cast(Any, layer).forward = _marked(layer)
    try:
        yield
    finally:
        for layer in layers:
            del cast(Any, layer).forward


def expand_quantized(graph: onnx.GraphProto) -> int:
    """Replace the markers by QuantizeLinear, DequantizeLinear, MatMul and Add, in place; returns how many.

    Weights are int8 constants [in, out] with a scale for each column, activations uint8.
    """
    weights = {tensor.name: tensor for tensor in graph.initializer}
    made: dict[str, onnx.TensorProto] = {}
    nodes: list[onnx.NodeProto] = []
    count = 0
    for node in graph.node:
        if node.domain == DOMAIN and node.op_type == LINEAR:
            nodes += _expanded(node, weights, made)
            count += 1
        else:
            nodes.append(node)
    if count:
        del graph.node[:]
        graph.node.extend(nodes)
        graph.initializer.extend(made.values())
        read = {name for node in nodes for name in node.input}
        for tensor in [tensor for tensor in graph.initializer if tensor.name not in read]:
            graph.initializer.remove(tensor)
    return count


def write_unrounded(source: Path, target: Path) -> None:
    """Write a graph whose activations are cut off at the ends of their ranges, but not rounded; weights are float32.

    A difference in the last bit of a float turns an int8 number into its neighbour, and the layers above turn others;
    two implementations can be compared to the last bits only without that.
    """
    model = load(source)
    unnest(model)
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    pairs = {node.output[0]: node for node in model.graph.node if node.op_type == "QuantizeLinear"}
    for node in list(model.graph.node):
        if node.op_type == "DequantizeLinear" and node.input[0] in constants:
            codes, scale, _ = (constants[name] for name in node.input)
            model.graph.initializer.append(numpy_helper.from_array(codes * scale, node.output[0]))
            model.graph.node.remove(node)
        elif node.op_type == "DequantizeLinear" and node.input[0] in pairs:
            rounding, output = pairs[node.input[0]], node.output[0]
            step, zero = constants[rounding.input[1]], int(constants[rounding.input[2]])
            ends = [numpy_helper.from_array(step * np.float32(n - zero), f"{output}.{n}") for n in (0, LEVELS - 1)]
            model.graph.initializer.extend(ends)
            names = [rounding.input[0], *(end.name for end in ends)]
            node.CopyFrom(helper.make_node("Clip", names, [output], node.name))
    for node in pairs.values():
        model.graph.node.remove(node)
    nest(model)
    save(model, target)


def _marked(layer: QuantizedLinear) -> Any:
    step, zero = layer.input_range.step_and_zero()
    facts = (step.item(), int(zero), layer.weight_bits)
    quiet = layer.quiet if layer.brings_down else None

    def forward(rows: Tensor) -> Tensor:
        states = rows if quiet is None else rows * quiet
        bias = () if layer.bias is None else (layer.bias,)
        return cast(Tensor, cast(Any, _Marker).apply(*facts, states, layer.weight, *bias))

    return forward


class _Marker(Function):
    @staticmethod
    def forward(ctx: Any, step: float, zero: int, bits: int, rows: Tensor, weight: Tensor, *bias: Tensor) -> Tensor:
        return nn.functional.linear(rows, weight, *bias)

    @staticmethod
    def symbolic(g: Any, step: float, zero: int, bits: int, rows: Any, weight: Any, *bias: Any) -> Any:
        output = g.op(f"{DOMAIN}::{LINEAR}", rows, weight, *bias, step_f=step, zero_i=zero, bits_i=bits)
        output.setType(rows.type().with_sizes([None, weight.type().sizes()[0]]))
        return output


def _expanded(
    node: onnx.NodeProto, weights: dict[str, onnx.TensorProto], made: dict[str, onnx.TensorProto]
) -> list[onnx.NodeProto]:
    facts = {entry.name: helper.get_attribute_value(entry) for entry in node.attribute}
    rows, weight, *bias = node.input
    output, name = node.output[0], node.name or node.output[0]

    def constant(label: str, values: np.ndarray[Any, Any]) -> str:
        made[label] = numpy_helper.from_array(values, label)
        return label

    of_weight = [f"{weight}.int8", f"{weight}.scale", f"{weight}.zero"]
    if of_weight[0] not in made:
        codes, steps = weight_codes(torch.from_numpy(numpy_helper.to_array(weights[weight]).copy()), facts["bits"])
        constant(of_weight[0], np.ascontiguousarray(codes.numpy().T.astype(np.int8)))
        constant(of_weight[1], steps.numpy().reshape(-1))
        constant(of_weight[2], np.zeros(len(steps), np.int8))
    of_rows = [
        constant(f"{output}.step", np.array(facts["step"], np.float32)),
        constant(f"{output}.zero", np.array(facts["zero"], np.uint8)),
    ]
    product = f"{output}.product" if bias else output
    parts = [f"{output}.codes", f"{output}.rounded", f"{output}.weight"]
    nodes = [
        helper.make_node("QuantizeLinear", [rows, *of_rows], [parts[0]], f"{name}/Quantize"),
        helper.make_node("DequantizeLinear", [parts[0], *of_rows], [parts[1]], f"{name}/Dequantize"),
        helper.make_node("DequantizeLinear", of_weight, [parts[2]], f"{name}/Weight", axis=1),
        helper.make_node("MatMul", parts[1:], [product], f"{name}/MatMul"),
    ]
    return [*nodes, helper.make_node("Add", [product, *bias], [output], f"{name}/Add")] if bias else nodes
