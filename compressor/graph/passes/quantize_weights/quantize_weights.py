"""The pass `quantize_weights`: weights of 4 or 8 bits in blocks, float activations.

RTN; GPTQ (Frantar et al. 2022); AWQ (Lin et al. 2023). The numbers are those of NNCF or of Neural Compressor, bit for
bit; ONNX Runtime's operator `MatMulNBits` reads them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from compressor.errors import PassError
from compressor.graph.context import PassContext, PassResult
from compressor.graph.files import load, save
from compressor.graph.linear import split_gemms
from compressor.graph.passes.nodes import Product, graphs, is_quantized, name_nodes
from compressor.graph.passes.quantize.choose import choose_products
from compressor.graph.passes.quantize.embeddings import quantize_embeddings, require_embeddings
from compressor.graph.passes.quantize_weights.blocks import Blocks
from compressor.graph.passes.quantize_weights.carry import carry
from compressor.graph.passes.quantize_weights.requirements import check_device
from compressor.graph.passes.quantize_weights.settings import QuantizeWeightsSettings
from compressor.graph.passes.session import open_session

Weights = dict[str, NDArray[np.float32]]


def run(source: Path, target: Path, settings: object, context: PassContext) -> PassResult:
    """Give the products with constant weights of `source` weights of few bits; everything else stays float32.

    GPTQ and AWQ go through the encoder's layers; what is outside of them (a pooler, a wide head) is rounded to nearest,
    as the notes say.

    Raises:
        RequestError: The device cannot run the result, an `exclude` fits no node, or there is no calibration data.
        PassError: The graph is quantized already, a quantizer failed, or ONNX Runtime cannot load the result.
    """
    asked = cast(QuantizeWeightsSettings, settings)
    check_device(asked, context.device)
    model = load(source)
    if is_quantized(model):
        raise PassError(f"quantize_weights: {source.name} is quantized already: take the other pass out of the recipe.")
    split_gemms(model.graph)
    name_nodes(model)
    chosen, left = choose_products(model, asked, op_types=["MatMul"], in_bodies=True, name="quantize_weights")
    weights = _weights_of(model, chosen)
    found = _quantized(weights, asked, context)
    outside = {name for name in weights if name not in found}
    if outside:
        found |= _rounded({name: weights[name] for name in outside}, asked)
    before = sum(array.nbytes for array in weights.values())
    saved = carry(model, chosen, found, asked.activations)
    notes: dict[str, Any] = {"scheme": f"int{asked.bits} weights", "method": asked.method, "backend": asked.backend}
    if asked.embeddings != "keep":
        notes["embeddings"] = quantize_embeddings(model, asked.embeddings)
        require_embeddings("quantize_weights", asked.embeddings, notes["embeddings"])
    save(model, target)
    open_session(target, context.device)
    return PassResult(
        target,
        notes
        | {
            "quantized": len(chosen),
            "products": len(chosen) + len(left),
            "float32": left,
            "rounded": [product.node.name for product in chosen if product.weight in outside],
            "share": round((before - saved) / before, 4),  # of the bytes that these weights had in float32
            "bytes_before": source.stat().st_size,
            "bytes_after": target.stat().st_size,
        },
    )


def _weights_of(model: onnx.ModelProto, chosen: Sequence[Product]) -> Weights:
    """Weights [in, out] of the products, by their names in the graph."""
    tensors = {tensor.name: tensor for graph in graphs(model.graph) for tensor in graph.initializer}
    return {product.weight: numpy_helper.to_array(tensors[product.weight]) for product in chosen}


def _quantized(weights: Weights, settings: QuantizeWeightsSettings, context: PassContext) -> dict[str, Blocks]:
    """What the quantizer makes of the weights, by their names; without those that the method does not reach."""
    if settings.backend == "nncf":
        from compressor.graph.passes.quantize_weights.nncf_backend import nncf_blocks

        return nncf_blocks(weights, settings)
    if settings.method == "rtn":
        return _rounded(weights, settings)
    from compressor.graph.passes.quantize_weights.calibrate import calibrated_weights

    return calibrated_weights(weights, settings, context)


def _rounded(weights: Weights, settings: QuantizeWeightsSettings) -> dict[str, Blocks]:
    from compressor.graph.passes.quantize_weights.neural_compressor_backend import rounded

    return rounded(weights, dataclasses.replace(settings, method="rtn"))
