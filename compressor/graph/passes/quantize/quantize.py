"""The pass `quantize`: int8 products, checked to be there (Jacob et al. 2018)."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any, cast

import onnx

from compressor.errors import PassError
from compressor.graph.context import PassContext, PassResult
from compressor.graph.files import load, save
from compressor.graph.passes.cast.cast import run as run_cast
from compressor.graph.passes.cast.settings import CastSettings
from compressor.graph.passes.nodes import declare_fused_outputs, integer_products, is_quantized, name_nodes
from compressor.graph.passes.quantize.calibration import calibration_feeds
from compressor.graph.passes.quantize.choose import choose_products
from compressor.graph.passes.quantize.embeddings import quantize_embeddings, require_embeddings
from compressor.graph.passes.quantize.integer_ops import to_integer_products
from compressor.graph.passes.quantize.onnxruntime_backend import dynamic_int8, static_int8
from compressor.graph.passes.quantize.scheme import Scheme, resolve
from compressor.graph.passes.quantize.settings import QuantizeSettings
from compressor.graph.passes.quantize.smooth import smooth
from compressor.graph.passes.quantize.trained import finish_trained, is_trained
from compressor.graph.passes.quantize.unread import check_unread


def run(source: Path, target: Path, settings: object, context: PassContext) -> PassResult:
    """Quantize the products with constant weights of `source`; everything else stays float32.

    Sums of attention, the arithmetic of the dial, norms and heads narrower than `smallest_width` keep float32.
    Of a checkpoint that was trained for int8, the pairs that stand in the graph become integer products.
    The notes say how many products of how many were quantized, by which scheme, and which stayed float32.

    Raises:
        RequestError: Contradicting settings, an `exclude` that fits no node, or no calibration data (static).
        PassError: The graph is quantized already, nothing could be quantized, or the file did not shrink.
    """
    chosen_settings = cast(QuantizeSettings, settings)
    scheme = resolve(chosen_settings, context.device)
    model = load(source)
    if is_trained(model, context):
        name_nodes(model)
        notes = finish_trained(model, target, scheme, chosen_settings, context)
        return PassResult(target, notes | _sizes(source, target))
    check_unread(chosen_settings, context.device)
    if scheme.mode == "float16":
        return run_cast(source, target, CastSettings(), context)
    if scheme.mode == "none":
        shutil.copyfile(source, target)
        reason = f"the profile '{context.device.name}' is fast at float32: nothing was quantized"
        return PassResult(target, {"scheme": "float32", "note": reason})
    if is_quantized(model):
        raise PassError(f"quantize: {source.name} is quantized already: leave one pass 'quantize' in the recipe.")
    name_nodes(model)
    declare_fused_outputs(model)
    notes = _quantize(model, target, scheme, chosen_settings, context)
    notes |= _sizes(source, target)
    if notes["bytes_after"] >= notes["bytes_before"]:
        raise PassError(
            f"quantize: the file grew from {notes['bytes_before']} to {notes['bytes_after']} bytes: the graph has "
            "too few weights for int8 to pay."
        )
    return PassResult(target, notes)


def _sizes(source: Path, target: Path) -> dict[str, Any]:
    return {"bytes_before": source.stat().st_size, "bytes_after": target.stat().st_size}


def _quantize(
    model: onnx.ModelProto, target: Path, scheme: Scheme, settings: QuantizeSettings, context: PassContext
) -> dict[str, Any]:
    notes: dict[str, Any] = {"scheme": scheme.notes()}
    dynamic = scheme.mode == "dynamic"  # it alone reaches into If, into the fused operator Attention, and into LSTM
    op_types = [kind for kind in settings.op_types if dynamic or kind not in ("Attention", "LSTM")]
    chosen, left = choose_products(model, settings, op_types=op_types, in_bodies=dynamic)
    wanted, total = len(chosen), len(chosen) + len(left)
    if settings.embeddings != "keep":
        notes["embeddings"] = quantize_embeddings(model, settings.embeddings)
        require_embeddings("quantize", settings.embeddings, notes["embeddings"])
    smooths = _smooths(scheme, settings, context)
    feeds = calibration_feeds(model, settings, context) if smooths or scheme.mode == "static" else []
    if smooths:
        notes["smoothed"] = smooth(model, chosen, feeds, context, target.parent)
    if scheme.mode == "dynamic":
        dynamic_int8(model, chosen, scheme, target)
    else:
        notes["calibration_batches"] = len(feeds)
        if scheme.backend == "nncf":
            from compressor.graph.passes.quantize.nncf_backend import nncf_int8

            notes |= nncf_int8(model, chosen, scheme, feeds, settings, context, target)
        else:
            notes["calibration"] = settings.calibration
            static_int8(model, chosen, scheme, feeds, settings, context, target)
    result = load(target)
    if scheme.mode == "static" and scheme.layout == "integer":
        to_integer_products(result, signed=scheme.activation_signed)
        save(result, target)
    done = integer_products(result)
    _require_int8(done, wanted, scheme, settings)
    if done < wanted:
        context.progress.line(f"quantize: {done} of {wanted} products became int8.")
    left += notes.pop("given_back", [])
    return notes | {"quantized": done, "wanted": wanted, "products": total, "float32": left}


def _require_int8(done: int, wanted: int, scheme: Scheme, settings: QuantizeSettings) -> None:
    """Raise a `PassError` if nothing became int8."""
    if done:
        return
    if settings.max_drop is not None:
        raise PassError(
            f"quantize: max_drop: {settings.max_drop:g} gives all {wanted} products back to float32: allow more, or "
            "take the pass out."
        )
    raise PassError(
        f"quantize: {wanted} products should be int8 by {scheme.backend} ({scheme.mode}), and none is: "
        "report the graph, or use another backend or mode."
    )


def _smooths(scheme: Scheme, settings: QuantizeSettings, context: PassContext) -> bool:
    """Whether loud channels are smoothed first: not where NNCF does it itself, nor by itself without data.

    NNCF cannot give products back to float that it has smoothed: with `max_drop` it is done here.
    """
    if settings.smooth == "off" or (scheme.backend == "nncf" and settings.max_drop is None):
        return False
    return settings.smooth == "on" or bool(context.data.calibration)
