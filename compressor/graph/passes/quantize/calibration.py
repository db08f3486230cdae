"""Activation ranges from the calibration data, one batch in memory at a time."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import TensorProto
from onnxruntime.quantization.calibrate import CalibrationMethod, HistogramCollector, TensorsData

from compressor.errors import PassError, RequestError
from compressor.graph.context import PassContext
from compressor.graph.passes.quantize.settings import QuantizeSettings
from compressor.graph.passes.quantize.smallest_error import smallest_error_range
from compressor.graph.passes.windows import Windows

Feed = dict[str, NDArray[Any]]
Ranges = Mapping[str, tuple[NDArray[np.float32], NDArray[np.float32]]]
BINS = {"percentile": 2048, "mse": 2048, "entropy": 128}
"""Bins of a histogram, as ONNX Runtime's own calibrators have them."""


def calibration_feeds(model: onnx.ModelProto, settings: QuantizeSettings, context: PassContext) -> list[Feed]:
    """Inputs from the calibration part of the data, in batches of similar length, the dial at full length.

    Raises `RequestError` if that part is empty.
    """
    examples = context.data.calibration[: settings.samples]
    if not examples:
        raise RequestError(
            "quantize: static int8 needs calibration data, as smooth: on does; it is a part of the training data, and "
            "there is none: give data.train and data.calibration above 0, or use mode: dynamic and smooth: auto."
        )
    names = [entry.name for entry in model.graph.input]
    windows = Windows(context.task, context.tokenizer, examples, names, settings.batch_size)
    return [{**feed, **full_length(model)} for feed in windows.feeds]


def full_length(model: onnx.ModelProto) -> Feed:
    """The dial at full length, `{"keep": ones [layers]}`; empty for a graph without one."""
    for entry in model.graph.input:
        if entry.name == "keep":
            return {"keep": np.ones(entry.type.tensor_type.shape.dim[0].dim_value, dtype=np.float32)}
    return {}


def collect_ranges(
    model: onnx.ModelProto, tensors: Sequence[str], feeds: Sequence[Feed], settings: QuantizeSettings,
    *, symmetric: bool, context: PassContext, folder: Path,
) -> TensorsData:  # fmt: skip
    """The range of each tensor over all feeds, as ONNX Runtime's quantizer takes it.

    Only `tensors` are fetched, batch by batch, and reduced at once to a range (minmax) or a histogram
    (percentile, entropy, mse). `folder` is for the graph with the extra outputs.
    """
    session = watched(model, tensors, folder)
    collector = _MinMax() if settings.calibration == "minmax" else _Histograms(settings, symmetric)
    with context.progress.bar("calibrating", len(feeds)) as bar:
        for batch in _runs(session, tensors, feeds):
            collector.add(batch)
            bar.advance()
    found = collector.ranges()
    broken = [name for name, values in found.items() if not np.all(np.isfinite(values[:2]))]
    if broken:
        raise PassError(f"quantize: calibration met values that are no numbers in '{broken[0]}': check the checkpoint.")
    method = {
        "minmax": CalibrationMethod.MinMax,
        "mse": CalibrationMethod.MinMax,  # what it finds is a range like that one's
        "percentile": CalibrationMethod.Percentile,
        "entropy": CalibrationMethod.Entropy,
    }
    return TensorsData(method[settings.calibration], found)


def loudest(
    model: onnx.ModelProto, tensors: Sequence[str], feeds: Sequence[Feed], context: PassContext, folder: Path
) -> dict[str, NDArray[np.float32]]:
    """The largest magnitude of each tensor's last axis over all feeds: [channels] a tensor.

    `folder` is for the graph with the extra outputs.
    """
    session = watched(model, tensors, folder)
    found: dict[str, NDArray[np.float32]] = {}
    with context.progress.bar("listening for loud channels", len(feeds)) as bar:
        for batch in _runs(session, tensors, feeds):
            for name, values in batch.items():
                channels = np.abs(values).reshape(-1, values.shape[-1]).max(axis=0)
                found[name] = np.maximum(found[name], channels) if name in found else channels
            bar.advance()
    (folder / "calibration.onnx").unlink()
    return found


def watched(model: onnx.ModelProto, tensors: Sequence[str], folder: Path) -> onnxruntime.InferenceSession:
    """A session of the graph that can return `tensors` too; it stays in `folder` as calibration.onnx."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    known = {entry.name for entry in copy.graph.output} | {entry.name for entry in copy.graph.input}
    for name in tensors:
        if name not in known:
            copy.graph.output.append(onnx.helper.make_tensor_value_info(name, TensorProto.FLOAT, None))
    path = folder / "calibration.onnx"
    onnx.save(copy, path)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def _runs(
    session: onnxruntime.InferenceSession, tensors: Sequence[str], feeds: Sequence[Feed]
) -> Iterator[dict[str, NDArray[Any]]]:
    for feed in feeds:
        yield dict(zip(tensors, session.run(list(tensors), feed), strict=True))


class _MinMax:
    def __init__(self) -> None:
        self._ranges: dict[str, tuple[NDArray[Any], NDArray[Any]]] = {}

    def add(self, batch: Mapping[str, NDArray[Any]]) -> None:
        for name, values in batch.items():
            low, high = values.min(), values.max()
            if name in self._ranges:
                low, high = np.minimum(low, self._ranges[name][0]), np.maximum(high, self._ranges[name][1])
            self._ranges[name] = (np.asarray(low, np.float32), np.asarray(high, np.float32))

    def ranges(self) -> dict[str, tuple[Any, ...]]:
        return dict(self._ranges)


class _Histograms:
    def __init__(self, settings: QuantizeSettings, symmetric: bool) -> None:
        method, self._symmetric = settings.calibration, symmetric
        self._mse = method == "mse"
        kind = "percentile" if self._mse else method
        one_sided = symmetric and not self._mse
        self._collector = HistogramCollector(kind, one_sided, BINS[method], 128, settings.percentile, "same")

    def add(self, batch: Mapping[str, NDArray[Any]]) -> None:
        with contextlib.redirect_stdout(io.StringIO()):  # the collector prints at every batch
            self._collector.collect({name: values.ravel() for name, values in batch.items()})

    def ranges(self) -> dict[str, tuple[Any, ...]]:
        if self._mse:
            return {name: self._smallest_error(*seen[:4]) for name, seen in self._collector.histogram_dict.items()}
        with contextlib.redirect_stdout(io.StringIO()):
            return dict(self._collector.compute_collection_result())

    def _smallest_error(self, counts: NDArray[Any], edges: NDArray[Any], low: Any, high: Any) -> tuple[Any, ...]:
        ends = smallest_error_range(counts, edges, float(low), float(high), symmetric=self._symmetric)
        return tuple(np.asarray(end, np.float32) for end in ends)
