"""Static int8 by NNCF, with accuracy control if `max_drop` is given."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import onnx

from compressor.errors import PassError
from compressor.graph.constants import to_initializers
from compressor.graph.context import PassContext
from compressor.graph.passes.nodes import Product, all_nodes
from compressor.graph.passes.quantize.calibration import Feed
from compressor.graph.passes.quantize.scheme import Scheme
from compressor.graph.passes.quantize.score import Scorer
from compressor.graph.passes.quantize.settings import QuantizeSettings
from compressor.quiet_nncf import load_nncf


def nncf_int8(
    model: onnx.ModelProto, chosen: Sequence[Product], scheme: Scheme, feeds: Sequence[Feed],
    settings: QuantizeSettings, context: PassContext, target: Path,
) -> dict[str, Any]:  # fmt: skip
    """Quantize only the chosen products; with `max_drop`, give back to float what costs too many points.

    Accuracy is measured by the task's primary metric on the search part of the data, or on the calibration part
    if there is none. Returns notes. Raises `PassError` if NNCF cannot work on the graph.
    """
    nncf = load_nncf("nncf.quantization.advanced_parameters")
    names = {product.node.name for product in chosen}
    options: dict[str, Any] = {
        "preset": nncf.QuantizationPreset.PERFORMANCE if scheme.activation_symmetric else nncf.QuantizationPreset.MIXED,
        "subset_size": len(feeds),
        "model_type": nncf.ModelType.TRANSFORMER,
        "ignored_scope": nncf.IgnoredScope(
            names=[node.name for node in all_nodes(model) if node.name not in names], validate=False
        ),
    }
    advanced = nncf.AdvancedQuantizationParameters(
        overflow_fix=nncf.OverflowFix.ENABLE if scheme.reduce_range else nncf.OverflowFix.DISABLE,
        weights_quantization_params=nncf.quantization.advanced_parameters.QuantizationParameters(
            per_channel=scheme.per_channel
        ),
    )
    notes: dict[str, Any] = {}
    to_initializers(model.graph)  # where NNCF looks for what is constant
    context.progress.line(f"quantize: NNCF calibrates on {len(feeds)} batches.")
    with _quiet():
        try:
            if settings.max_drop is None:
                result = nncf.quantize(model, nncf.Dataset(feeds), advanced_parameters=advanced, **options)
            else:
                scorer = Scorer(context, target.parent)
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
                notes = {"metric": scorer.metric, "accuracy_on": scorer.part, "max_drop": settings.max_drop}
        except (RuntimeError, ValueError, LookupError, nncf.InternalError, nncf.ValidationError) as error:
            raise PassError(f"quantize: NNCF failed on this graph: {error}; use backend: onnxruntime.") from error
    onnx.save(result, target)
    return notes


def _subset(indices: Iterable[Any]) -> list[int]:
    return [int(index) for index in indices]


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """NNCF draws progress bars of its own; ours are enough."""
    with contextlib.redirect_stdout(io.StringIO()):
        yield
