"""Graphs whose checkpoint was trained for int8: their Q/DQ pairs stand, with ranges that were learned."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from onnx import ModelProto

from compressor.errors import PassError
from compressor.graph.context import PassContext
from compressor.graph.files import save
from compressor.graph.passes.nodes import INTEGER_OPS, all_nodes, integer_products
from compressor.graph.passes.quantize.embeddings import quantize_embeddings, require_embeddings
from compressor.graph.passes.quantize.integer_ops import to_integer_products
from compressor.graph.passes.quantize.requirements import check_trained
from compressor.graph.passes.quantize.scheme import Scheme
from compressor.graph.passes.quantize.settings import QuantizeSettings
from compressor.models.checkpoint import read_config
from compressor.models.structure import Structure


def is_trained(model: ModelProto, context: PassContext) -> bool:
    """Whether the checkpoint was trained for int8 and its graph has the pairs still, as exported."""
    if Structure.from_config(read_config(context.checkpoint.path)).quantizers is None:
        return False
    kinds = {node.op_type for node in all_nodes(model)}
    return "QuantizeLinear" in kinds and not kinds & INTEGER_OPS


def finish_trained(
    model: ModelProto, target: Path, scheme: Scheme, settings: QuantizeSettings, context: PassContext
) -> dict[str, Any]:
    """Write the graph with integer products (the CPU provider), or with its pairs as they are (`layout: qdq`).

    The notes say how many products are int8; the device's number format is not asked, the training has decided.

    Raises:
        RequestError: Settings about what the training has settled, or a device that wants other ranges than that.
        PassError: A pair that no product reads.
    """
    check_trained(settings, context.device)
    wanted = integer_products(model)
    trained = Structure.from_config(read_config(context.checkpoint.path)).quantizers
    bits = trained.weight_bits if trained is not None else 8
    learned = dataclasses.replace(
        scheme,
        mode="static",
        per_channel=True,
        reduce_range=bits < 8,
        activation_signed=False,
        activation_symmetric=False,
        weight_type="int8",
    )
    notes: dict[str, Any] = {"scheme": {**learned.notes(), "mode": "trained"}}
    if settings.embeddings != "keep":
        notes["embeddings"] = quantize_embeddings(model, settings.embeddings)
        require_embeddings("quantize", settings.embeddings, notes["embeddings"])
    if scheme.layout == "integer":
        replaced = to_integer_products(model, signed=False)
        if replaced != wanted:
            raise PassError(f"quantize: {replaced} of {wanted} trained products became int8: report the graph.")
    save(model, target)
    if scheme.reduce_range and bits == 8:
        context.progress.line(
            "quantize: this device has no VNNI, and int8 products of 8-bit weights can overflow there: train with "
            "weight_bits: 7 in the stage qat."
        )
    return notes | {"quantized": integer_products(model), "wanted": wanted, "products": wanted, "float32": []}
