"""The pass `search_depth`: choose the depth dial's default on the finished graph."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import onnxruntime

from compressor.errors import PassError, RequestError
from compressor.graph import dial
from compressor.graph.context import PassContext, PassResult
from compressor.graph.files import load, save
from compressor.graph.passes.search_depth.settings import SearchDepthSettings, values_to_try
from compressor.graph.passes.session import open_session
from compressor.graph.passes.windows import Windows
from compressor.models.config_file import read_config
from compressor.models.families import family_of
from compressor.models.structure import DepthMethod, Structure


@dataclass(frozen=True)
class Point:
    """A value of the dial, the primary metric in points there, and the mean number of layers run."""

    setting: float
    metric: float
    blocks: float
    error: float = 0.0  # standard error of what it loses to a run of all layers, in points


def run(source: Path, target: Path, settings: object, context: PassContext) -> PassResult:
    """Try values of the depth dial on `source`; write it to `target` with the chosen default and the table.

    A value is chosen by the metric over the search part of the data, on the graph as it is (quantized, fused), against
    the same graph with all layers run. The least of many losses that were measured on few texts is too good to be true,
    so that a value is taken only where its loss and `errors` standard errors of it (paired, over texts) are at most
    `max_drop`. If no value is within that, the default is one that loses nothing: all layers run, or DACT's promise.

    Raises:
        PassError: The graph cannot stop early.
        RequestError: There is no search data.
    """
    settings = cast(SearchDepthSettings, settings)
    config = read_config(context.checkpoint.path)
    depth = Structure.from_config(config).adaptive_depth
    model = load(source, weights=False)
    if depth is None or dial.depth_name(model) is None:
        raise PassError(
            f"search_depth: {source.name} cannot stop early: add the stage adaptive_depth to the recipe, or take the "
            "pass search_depth out."
        )
    name = dial.DEPTH_DIALS[depth.method]
    examples = context.data.search[: settings.samples]
    if not examples:
        raise RequestError(
            "search_depth: the search part of the data is empty: give training data (data.train=...) and data.search "
            "above 0, or take the pass search_depth out of the recipe."
        )
    session = _session(source, target, context)
    inputs = [entry.name for entry in session.get_inputs()]
    windows = Windows(context.task, context.tokenizer, examples, inputs, settings.batch_size)
    metric_name = context.task.metric_names[0]

    def measure(setting: float) -> tuple[Point, np.ndarray]:
        extra = {name: np.asarray([setting], dtype=np.float32)}
        rows = windows.outputs(session, extra, also=(dial.BLOCKS_RUN,))
        predictions = context.task.decode(examples, windows.features, rows)
        blocks = float(np.mean([row[dial.BLOCKS_RUN] for row in rows]))
        point = Point(setting, context.task.score(examples, predictions)[metric_name], blocks)
        return point, context.task.example_scores(examples, predictions)

    values = values_to_try(settings, depth, family_of(config).layer_count(config))
    with context.progress.bar("searching the depth dial", len(values) + 1) as bar:
        full, full_scores = measure(dial.NEVER[depth.method])
        points = []
        for setting in values:
            point, scores = measure(setting)
            points.append(replace(point, error=standard_error(full_scores - scores)))
            bar.advance(
                1, f"{name} {setting:g}: {metric_name} {points[-1].metric:.2f} at {points[-1].blocks:.2f} layers"
            )
    chosen = choose(points, full, settings.max_drop, settings.errors)
    if chosen is None:
        chosen, _ = measure(_harmless(depth.method, full.blocks))
        context.progress.line(
            f"search_depth: no value is sure to lose at most {settings.max_drop} points on {len(examples)} texts, so "
            f"that the default is one that loses nothing{_nearest(points, full, name)}."
        )
        points.append(chosen)
    table = [{"setting": point.setting, "metric": point.metric, "mean_blocks": point.blocks} for point in points]
    shutil.copyfile(source, target)
    dial.set_depth_default(target, chosen.setting)
    dial.write_depth_table(target, table)
    notes: dict[str, Any] = {
        "setting": chosen.setting,
        "metric": metric_name,
        "chosen_metric": chosen.metric,
        "full_metric": full.metric,
        "mean_blocks": chosen.blocks,
        "full_blocks": full.blocks,
        "max_drop": settings.max_drop,
        "error": chosen.error,
        "saves": chosen.blocks < full.blocks,
        "examples": len(examples),
        "table": table,
    }
    return PassResult(target, notes)


def _session(source: Path, target: Path, context: PassContext) -> onnxruntime.InferenceSession:
    """A session whose dial can be turned; a constant is made an input in a copy that only lives here."""
    if dial.depth_is_input(source):
        return open_session(source, context.device)
    model = load(source)
    dial.free_depth(model)
    copy = target.with_name(f"{target.stem}.searched.onnx")
    save(model, copy)
    try:
        return open_session(copy, context.device)
    finally:
        copy.unlink()


def standard_error(differences: np.ndarray) -> float:
    """Of the mean of paired differences [texts]."""
    return float(np.std(differences, ddof=1) / np.sqrt(len(differences))) if len(differences) > 1 else 0.0


def within_drop(points: Sequence[Point], full: Point, max_drop: float, errors: float) -> list[Point]:
    """The points whose loss, with so many standard errors of it, is at most `max_drop` below `full`."""
    return [point for point in points if full.metric - point.metric + errors * point.error <= max_drop]


def choose(points: Sequence[Point], full: Point, max_drop: float, errors: float = 0.0) -> Point | None:
    """The point of fewest layers that is within `max_drop` of `full`, among equals the one with the better metric."""
    good = within_drop(points, full, max_drop, errors)
    return min(good, key=lambda point: (point.blocks, -point.metric)) if good else None


def _harmless(method: DepthMethod, layers: float) -> float:
    """The value at which no answer changes, as one would write it: no margin, no entropy, as much patience."""
    return layers if method == "pabee" else 0.0


def _nearest(points: Sequence[Point], full: Point, name: str) -> str:
    if not points:
        return ""
    best = max(points, key=lambda point: (point.metric, -point.blocks))
    return (
        f"; {name} {best.setting:g} loses least, {full.metric - best.metric:.2f} (standard error {best.error:.2f}), "
        f"at {best.blocks:.2f} layers"
    )
