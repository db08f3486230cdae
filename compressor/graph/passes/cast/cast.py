"""The pass `cast`: float16 weights and arithmetic (Micikevicius et al. 2018)."""

from __future__ import annotations

from fnmatch import fnmatchcase
from pathlib import Path
from typing import cast

import onnx

from compressor.errors import PassError
from compressor.graph.context import PassContext, PassResult
from compressor.graph.files import load, save
from compressor.graph.passes.cast.blocked import blocked_nodes
from compressor.graph.passes.cast.convert import to_half
from compressor.graph.passes.cast.settings import CastSettings
from compressor.graph.passes.nodes import all_nodes, check_patterns, is_quantized, name_nodes
from compressor.graph.passes.session import open_session


def run(source: Path, target: Path, settings: object, context: PassContext) -> PassResult:
    """Write `source` to `target` with float16 weights and arithmetic; inputs, outputs and the dial stay float32.

    Raises:
        RequestError: An `exclude` pattern fits no node.
        PassError: The graph is quantized or cast already, a weight is too large for float16, or ONNX Runtime
            cannot load the result.
    """
    chosen = cast(CastSettings, settings)
    model = load(source)
    if is_quantized(model):
        raise PassError(f"cast: {source.name} is quantized: a graph is either int8 or float16; take one pass out.")
    if any(tensor.data_type == onnx.TensorProto.FLOAT16 for tensor in model.graph.initializer):
        raise PassError(f"cast: {source.name} is float16 already: leave one pass 'cast' in the recipe.")
    name_nodes(model)
    names = [node.name for node in all_nodes(model)]
    check_patterns("cast", chosen.exclude, names)
    blocked = blocked_nodes(model)
    blocked |= {name for name in names if any(fnmatchcase(name, pattern) for pattern in chosen.exclude)}
    counts = to_half(model, blocked)
    if not counts["weights"]:
        raise PassError(f"cast: {source.name} has no float32 weights to cast: take the pass out of the recipe.")
    save(model, target)
    open_session(target, context.device)
    return PassResult(
        target,
        {
            "scheme": "float16",
            "weights": counts["weights"],
            "casts": counts["casts"],
            "mask_constants": counts["masks"],
            "float32_nodes": len(blocked),
            "bytes_before": source.stat().st_size,
            "bytes_after": target.stat().st_size,
        },
    )
