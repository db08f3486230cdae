"""Which nodes are quantized."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Protocol

from onnx import ModelProto

from compressor.errors import PassError
from compressor.graph.passes.nodes import Product, check_patterns, products
from compressor.graph.stopping import EXIT_ANSWERS


class Wishes(Protocol):
    """What the settings of a quantizing pass say about the products that it takes."""

    @property
    def exclude(self) -> Sequence[str]:
        """Patterns of node names that stay float32."""

    @property
    def smallest_width(self) -> int:
        """Rows and columns of weights below which a product stays float32."""


def choose_products(
    model: ModelProto, wishes: Wishes, *, op_types: Sequence[str], in_bodies: bool, name: str = "quantize"
) -> tuple[list[Product], list[str]]:
    """The products to quantize, and the names of those with weights that stay float32.

    `in_bodies`: whether the branches of If are reached into. What an exit answers stays float32. `name` is the pass's,
    for errors. Nodes must have names.

    Raises:
        RequestError: An `exclude` pattern fits no product.
        PassError: Nothing is left to quantize.
    """
    found = products(model)
    check_patterns(name, wishes.exclude, [product.node.name for product in found])
    chosen: list[Product] = []
    left: list[str] = []
    for product in found:
        node = product.node
        wanted = (
            node.op_type in op_types
            and min(product.rows, product.columns) >= wishes.smallest_width
            and not any(fnmatchcase(node.name, pattern) for pattern in (*wishes.exclude, EXIT_ANSWERS))
            and (in_bodies or not product.in_body)
        )
        if wanted:
            chosen.append(product)
        else:
            left.append(node.name)
    if not chosen:
        raise PassError(
            f"{name}: the graph has no product with constant float32 weights left to quantize: check exclude and "
            "smallest_width (for quantize also op_types), and that the graph is neither quantized nor cast already."
        )
    return chosen, left
