"""Dynamic and static int8 by ONNX Runtime's own quantizers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import onnx
from onnx import TensorProto
from onnxruntime.quantization import QuantType, quantize_dynamic
from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

from compressor.graph.context import PassContext
from compressor.graph.order import sort_nodes
from compressor.graph.passes.nodes import Product, all_nodes
from compressor.graph.passes.quantize.calibration import Feed, collect_ranges
from compressor.graph.passes.quantize.scheme import Scheme
from compressor.graph.passes.quantize.settings import QuantizeSettings

PREPARED = "onnx.quant.pre_process"
"""Metadata by which the quantizers know a graph that needs no preparation (they warn about others)."""
QUANTIZER_MARKS = (PREPARED, "onnx.infer")
"""Metadata of the quantizers' own, removed afterwards."""


def dynamic_int8(model: onnx.ModelProto, chosen: Sequence[Product], scheme: Scheme, target: Path) -> None:
    """Int8 weights; activations to uint8 at run time, with a range of their own per run. Reaches into If.

    `DefaultTensorType`: shape inference does not know the fused operators' outputs, which are float32.
    """
    model.metadata_props.add(key=PREPARED, value="onnxruntime.quant")
    quantize_dynamic(
        model,
        target,
        op_types_to_quantize=sorted({product.node.op_type for product in chosen} | {"MatMul"}),
        per_channel=scheme.per_channel,
        reduce_range=scheme.reduce_range,
        weight_type=_weight_type(scheme),
        nodes_to_quantize=_names_for_dynamic(chosen),
        extra_options={
            "DefaultTensorType": TensorProto.FLOAT,
            "MatMulConstBOnly": True,
            "EnableSubgraph": any(product.in_body for product in chosen),
        },
    )
    _clean(target)


def static_int8(
    model: onnx.ModelProto, chosen: Sequence[Product], scheme: Scheme, feeds: Sequence[Feed],
    settings: QuantizeSettings, context: PassContext, target: Path,
) -> None:  # fmt: skip
    """Q/DQ pairs around the chosen products, with activation ranges from calibration.

    Outputs are not quantized: ONNX Runtime then computes int8 products with float32 results, and the sums and
    norms behind them lose nothing.
    """
    tensors = list(dict.fromkeys(product.node.input[0] for product in chosen))
    ranges = collect_ranges(
        model, tensors, feeds, settings, symmetric=scheme.activation_symmetric, context=context, folder=target.parent
    )
    (target.parent / "calibration.onnx").unlink()
    model.metadata_props.add(key=PREPARED, value="onnxruntime.quant")
    kinds = sorted({product.node.op_type for product in chosen})
    quantizer = QDQQuantizer(
        model,
        scheme.per_channel,
        scheme.reduce_range,
        _weight_type(scheme),
        QuantType.QInt8 if scheme.activation_signed else QuantType.QUInt8,
        ranges,
        [product.node.name for product in chosen],
        [],
        kinds,
        {
            "DefaultTensorType": TensorProto.FLOAT,
            "ActivationSymmetric": scheme.activation_symmetric,
            "OpTypesToExcludeOutputQuantization": kinds,
        },
    )
    quantizer.quantize_model()
    _give_back_floats(quantizer.model.model, {product.node.name for product in chosen})
    quantizer.model.save_model_to_file(str(target), False)
    _clean(target)


def _give_back_floats(model: onnx.ModelProto, products: set[str]) -> None:
    """Let every reader of a dequantized tensor that is no chosen product read the float tensor itself.

    The quantizer puts its pair in front of all readers of a tensor; the residual would be rounded to int8 too.
    """
    sources = {node.output[0]: node.input[0] for node in model.graph.node if node.op_type == "QuantizeLinear"}
    pairs = {
        node.output[0]: sources[node.input[0]]
        for node in model.graph.node
        if node.op_type == "DequantizeLinear" and node.input[0] in sources
    }
    for node in all_nodes(model):
        if node.name not in products:
            node.input[:] = [pairs.get(name, name) for name in node.input]


def _weight_type(scheme: Scheme) -> Any:
    return QuantType.QInt8 if scheme.weight_type == "int8" else QuantType.QUInt8


def _names_for_dynamic(chosen: Sequence[Product]) -> list[str]:
    """Node names; a Gemm becomes a MatMul first, under a name with a suffix of the quantizer's own."""
    return [
        f"{product.node.name}_MatMul" if product.node.op_type == "Gemm" else product.node.name for product in chosen
    ]


def _clean(target: Path) -> None:
    model = onnx.load(target)
    kept = [(entry.key, entry.value) for entry in model.metadata_props if entry.key not in QUANTIZER_MARKS]
    del model.metadata_props[:]
    for key, value in kept:
        model.metadata_props.add(key=key, value=value)
    sort_nodes(model.graph)
    onnx.save(model, target)
