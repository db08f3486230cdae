"""A few loud channels no longer set the int8 step for all the others: see `models.loud_channels`.

Loud channels of a product's input are divided by a factor each, and the weights' rows multiplied by it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from compressor.graph.context import PassContext
from compressor.graph.order import sort_nodes
from compressor.graph.passes.nodes import Product
from compressor.graph.passes.quantize.calibration import Feed, loudest
from compressor.models.loud_channels import factors


def smooth(
    model: onnx.ModelProto,
    chosen: Sequence[Product],
    feeds: Sequence[Feed],
    context: PassContext,
    folder: Path,
) -> list[str]:
    """Smooth the inputs of the chosen products in place; the names of the tensors that were.

    Args:
        model: The float32 graph.
        chosen: Products to be quantized; those inside of branches are left alone, and so are weights that several
            layers share: each would need a copy of its own.
        feeds: Calibration inputs.
        context: For the progress bar.
        folder: Where a graph with extra outputs may lie for a while.
    """
    readers: dict[str, list[Product]] = {}
    inputs: dict[str, set[str]] = {}
    for product in chosen:
        inputs.setdefault(product.weight, set()).add(product.node.input[0])
        if not product.in_body and product.node.op_type in ("MatMul", "Gemm"):
            readers.setdefault(product.node.input[0], []).append(product)
    readers = {
        name: products for name, products in readers.items() if all(len(inputs[p.weight]) == 1 for p in products)
    }
    loudness = loudest(model, list(readers), feeds, context, folder)
    weights = {tensor.name: tensor for tensor in model.graph.initializer}
    smoothed = []
    for name, products in readers.items():
        factor = factors(loudness[name])
        if factor is not None:
            _divide(model, name, products, factor, weights)
            smoothed.append(name)
    sort_nodes(model.graph)
    return smoothed


def _divide(
    model: onnx.ModelProto,
    name: str,
    products: Sequence[Product],
    factor: NDArray[np.float32],
    weights: dict[str, onnx.TensorProto],
) -> None:
    """Put one Mul behind the tensor `name`, and the factors [channels] into its readers' weights."""
    arrays = [_by_input(product, numpy_helper.to_array(weights[product.weight])) for product in products]
    inverse = numpy_helper.from_array(1 / factor, f"{name}/smooth")
    model.graph.initializer.append(inverse)
    model.graph.node.append(helper.make_node("Mul", [name, inverse.name], [f"{name}/smoothed"], f"{name}/Smooth"))
    for product, array in zip(products, arrays, strict=True):
        scaled = _by_input(product, array * factor[:, None])
        tensor = numpy_helper.from_array(np.ascontiguousarray(scaled), f"{product.weight}/smoothed/{product.node.name}")
        model.graph.initializer.append(tensor)
        product.node.input[0], product.node.input[1] = f"{name}/smoothed", tensor.name
    used = {entry for node in model.graph.node for entry in node.input}
    for product in products:
        if product.weight not in used and product.weight in weights:
            model.graph.initializer.remove(weights.pop(product.weight))


def _by_input(product: Product, array: NDArray[Any]) -> NDArray[Any]:
    """Weights as [input, output], or back."""
    return array.T if any(entry.name == "transB" and entry.i for entry in product.node.attribute) else array
