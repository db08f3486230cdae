"""Static int8 by NNCF: SmoothQuant, fast bias correction, and accuracy control if `max_drop` is given.

NNCF finds the bias of a product in the Add behind it. It leaves a bias alone of which a single number would change by
more than twice its size, as in most layers of a trained model one does (24 of 25 of the demo's teacher; correcting
all of them brought the answers no nearer to float32).
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from compressor.errors import PassError
from compressor.graph.constants import to_initializers
from compressor.graph.context import PassContext
from compressor.graph.passes.nodes import Product, all_nodes
from compressor.graph.passes.quantize.calibration import Feed
from compressor.graph.passes.quantize.scheme import Scheme
from compressor.graph.passes.quantize.score import Scorer
from compressor.graph.passes.quantize.settings import QuantizeSettings
from compressor.quiet import load_nncf

SMOOTH = "nncf_smooth_quant"
"""Ends the names of the nodes that SmoothQuant puts in."""


def nncf_int8(
    model: onnx.ModelProto, chosen: Sequence[Product], scheme: Scheme, feeds: Sequence[Feed],
    settings: QuantizeSettings, context: PassContext, target: Path,
) -> dict[str, Any]:  # fmt: skip
    """Quantize only the chosen products; with `max_drop`, give back to float what costs too many points.

    Accuracy is measured by the task's primary metric on the search part of the data, or on the calibration part
    if there is none.

    Returns notes: how many tensors NNCF smoothed and biases it corrected; `given_back` names products that went back
    to float. Raises `PassError` if NNCF cannot work on the graph.
    """
    names = {product.node.name for product in chosen}
    to_initializers(model.graph)  # where NNCF looks for what is constant
    context.progress.line(f"quantize: NNCF calibrates on {len(feeds)} batches.")
    result, notes = _quantized(model, names, scheme, feeds, settings, context, target.parent)
    onnx.save(result, target)
    return notes | {
        "nncf_smoothed": sum(node.name.endswith(SMOOTH) for node in result.graph.node),
        "nncf_corrected_biases": _changed_rows(model, result),
        "given_back": _still_float(result, names),
    }


def _quantized(
    model: onnx.ModelProto, names: Collection[str], scheme: Scheme, feeds: Sequence[Feed],
    settings: QuantizeSettings, context: PassContext, folder: Path,
) -> tuple[onnx.ModelProto, dict[str, Any]]:  # fmt: skip
    """The graph with Q/DQ pairs around the products `names`, and notes on how accuracy was measured."""
    nncf = load_nncf("nncf.quantization.advanced_parameters")
    options = _options(nncf, model, names, scheme, len(feeds))
    advanced = _advanced(nncf, scheme, settings)
    with _quiet():
        try:
            if settings.max_drop is None:
                return nncf.quantize(model, nncf.Dataset(feeds), advanced_parameters=advanced, **options), {}
            scorer = Scorer(context, folder)
            result = nncf.quantize_with_accuracy_control(
                model,
                nncf.Dataset(feeds),
                nncf.Dataset(range(len(scorer.examples))),
                lambda candidate, indices: scorer.points(candidate, _subset(indices)),
                max_drop=settings.max_drop,
                drop_type=nncf.DropType.ABSOLUTE,
                advanced_quantization_parameters=advanced,
                **options,
            )
        except (RuntimeError, ValueError, LookupError, nncf.InternalError, nncf.ValidationError) as error:
            raise PassError(f"quantize: NNCF failed on this graph: {error}; use backend: onnxruntime.") from error
    return result, {"metric": scorer.metric, "accuracy_on": scorer.part, "max_drop": settings.max_drop}


def _options(nncf: Any, model: onnx.ModelProto, names: Collection[str], scheme: Scheme, batches: int) -> dict[str, Any]:
    return {
        "preset": nncf.QuantizationPreset.PERFORMANCE if scheme.activation_symmetric else nncf.QuantizationPreset.MIXED,
        "subset_size": batches,
        "model_type": nncf.ModelType.TRANSFORMER,
        "ignored_scope": nncf.IgnoredScope(
            names=[node.name for node in all_nodes(model) if node.name not in names], validate=False
        ),
    }


def _advanced(nncf: Any, scheme: Scheme, settings: QuantizeSettings) -> Any:
    """What NNCF takes beside its plain options.

    A product that accuracy control gives back gets the weights that it came with, while SmoothQuant's factor would
    stay in front of it: with `max_drop` the graph has been smoothed before.
    """
    parameters = nncf.quantization.advanced_parameters
    advanced = nncf.AdvancedQuantizationParameters(
        overflow_fix=nncf.OverflowFix.ENABLE if scheme.reduce_range else nncf.OverflowFix.DISABLE,
        weights_quantization_params=parameters.QuantizationParameters(per_channel=scheme.per_channel),
    )
    if settings.smooth == "off" or settings.max_drop is not None:
        advanced.smooth_quant_alphas = parameters.AdvancedSmoothQuantParameters(convolution=-1, matmul=-1)
    return advanced


def _changed_rows(before: onnx.ModelProto, after: onnx.ModelProto) -> int:
    """How many constant rows, which are biases where they change at all, have other numbers."""
    rows = {tensor.name: numpy_helper.to_array(tensor) for tensor in before.graph.initializer if len(tensor.dims) == 1}
    return sum(
        not np.array_equal(numpy_helper.to_array(tensor), rows[tensor.name])
        for tensor in after.graph.initializer
        if tensor.name in rows
    )


def _still_float(model: onnx.ModelProto, names: Collection[str]) -> list[str]:
    """Those of the products `names` that do not multiply dequantized by dequantized numbers."""
    dequantized = {name for node in model.graph.node if node.op_type == "DequantizeLinear" for name in node.output}
    return [node.name for node in model.graph.node if node.name in names and not dequantized.issuperset(node.input[:2])]


def _subset(indices: Iterable[Any]) -> list[int]:
    return [int(index) for index in indices]


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """NNCF draws progress bars of its own; ours are enough."""
    with contextlib.redirect_stdout(io.StringIO()):
        yield
