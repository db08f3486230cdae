"""Which nodes are quantized."""

from __future__ import annotations

from fnmatch import fnmatchcase

from onnx import ModelProto

from compressor.errors import PassError
from compressor.graph.passes.nodes import Product, check_patterns, products
from compressor.graph.passes.quantize.settings import QuantizeSettings
from compressor.graph.stopping import EXIT_ANSWERS


def choose_products(model: ModelProto, settings: QuantizeSettings, *, dynamic: bool) -> tuple[list[Product], list[str]]:
    """The products to quantize, and the names of those with weights that stay float32.

    Only `dynamic` quantization reaches into the branches of If and into the fused operator Attention. What an exit
    answers stays float32. Nodes must have names.

    Raises:
        RequestError: An `exclude` pattern fits no product.
        PassError: Nothing is left to quantize.
    """
    found = products(model)
    check_patterns("quantize", settings.exclude, [product.node.name for product in found])
    chosen: list[Product] = []
    left: list[str] = []
    for product in found:
        node = product.node
        wanted = (
            node.op_type in settings.op_types
            and min(product.rows, product.columns) >= settings.smallest_width
            and not any(fnmatchcase(node.name, pattern) for pattern in (*settings.exclude, EXIT_ANSWERS))
            and (dynamic or not (product.in_body or node.op_type == "Attention"))
        )
        if wanted:
            chosen.append(product)
        else:
            left.append(node.name)
    if not chosen:
        raise PassError(
            "quantize: the graph has no product with constant float32 weights left to quantize: check op_types, "
            "exclude and smallest_width, and that the graph is not quantized or cast to float16 already."
        )
    return chosen, left
