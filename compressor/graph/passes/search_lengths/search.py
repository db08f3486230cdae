"""The pass `search_lengths`: choose the dial's default on the finished graph (Kim & Cho 2020, section 3.4)."""

from __future__ import annotations

import functools
import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, cast

import numpy as np

from compressor.devices.place import place_for
from compressor.errors import PassError, RequestError
from compressor.graph import dial
from compressor.graph.context import PassContext, PassResult
from compressor.graph.files import load, save
from compressor.graph.passes.search_lengths.evolution import Gene, Point, Schedule, Space, choose, evolve
from compressor.graph.passes.search_lengths.latency import RemoteStopwatch, Stopwatch
from compressor.graph.passes.search_lengths.settings import SearchLengthsSettings
from compressor.graph.passes.search_lengths.table import dial_table
from compressor.graph.passes.session import open_session
from compressor.graph.passes.windows import Windows
from compressor.models import macs
from compressor.models.config_file import read_config
from compressor.models.structure import LengthAdaptive, Structure

_REACH = 4
"""Times `max_drop`: how far below full length half of the search's parents may lie."""


def run(source: Path, target: Path, settings: object, context: PassContext) -> PassResult:
    """Search length configurations on `source`; write it to `target` with the chosen default and the table.

    Costs are counted (MACs) or measured (latency) for one input of the reference length; the metric is the
    task's primary one over the search part of the data, on the graph as it is (quantized, fused).

    Raises:
        PassError: The graph has no dial.
        RequestError: There is no search data, or the budget is below the smallest configuration's cost.
    """
    with ExitStack() as stack:
        return _search(source, target, cast(SearchLengthsSettings, settings), context, stack)


def _search(
    source: Path, target: Path, settings: SearchLengthsSettings, context: PassContext, stack: ExitStack
) -> PassResult:
    config = read_config(context.checkpoint.path)
    structure = Structure.from_config(config)
    adaptive = _require_dial(source, structure)
    examples = _examples(settings, context)
    path = stack.enter_context(_with_dial(source, target))
    session = open_session(path, context.device)
    inputs = [entry.name for entry in session.get_inputs()]
    windows = Windows(context.task, context.tokenizer, examples, inputs, settings.batch_size)
    length = settings.reference_length or max(windows.lengths)
    space = Space(layers=len(adaptive.keep), longest=length, minimum=adaptive.minimum)

    def keep_of(gene: Gene) -> list[float]:
        return macs.keep_from_counts(gene, length)

    @functools.cache
    def macs_of(gene: Gene) -> int:
        return macs.count(config, structure, length=length, keep=keep_of(gene), task=context.task.name)

    @functools.cache
    def latency_of(gene: Gene) -> float:
        return stopwatch.latency_ms(keep_of(gene))

    measured_on: str | None = None
    if settings.cost == "latency":
        place = stack.enter_context(place_for(context.device))
        measured_on = place.measured_on
        stopwatch: Stopwatch | RemoteStopwatch
        if context.device.host is None:
            stopwatch = Stopwatch(session, space.layers, length, settings.latency_runs)
        else:
            stopwatch = RemoteStopwatch(path, place, inputs, space.layers, length, settings.latency_runs)
    cost = latency_of if settings.cost == "latency" else macs_of
    budget = _budget(settings, float(cost(space.full)), float(cost(space.smallest)))
    schedule = Schedule(
        iterations=settings.iterations,
        population=settings.population,
        late=settings.late,
        mutations=settings.mutations,
        crossovers=settings.crossovers,
        mutation_probability=settings.mutation_probability,
        max_evaluations=settings.max_evaluations,
    )
    limits = {"max_drop": settings.max_drop, "budget": budget}
    points: list[Point] = []
    with context.progress.bar("searching length configurations", schedule.limit(space)) as bar:

        def seen(point: Point) -> None:
            points.append(point)
            bar.advance(1, _best_so_far(points, context.task.metric_names[0], settings, budget))

        evolve(
            space,
            schedule,
            cost,
            lambda gene: windows.metric(session, {"keep": np.asarray(keep_of(gene), dtype=np.float32)}),
            seed=context.seed,
            budget=budget,
            spacing=macs_of,
            reach=_REACH * settings.max_drop,
            seen=seen,
        )
    full = next(point for point in points if point.gene == space.full)
    chosen, within_drop = _choose(points, full, settings, budget)
    if not within_drop:
        context.progress.line(
            f"search_lengths: nothing within the budget loses at most {settings.max_drop} points; "
            f"the best there loses {full.metric - chosen.metric:.2f}."
        )
    metric_name = context.task.metric_names[0]
    rows = dial_table(
        points,
        space,
        macs=macs_of,
        keep=keep_of,
        metric=metric_name,
        latency_ms=latency_of if settings.cost == "latency" else None,
    )
    keep = keep_of(chosen.gene)
    shutil.copyfile(source, target)
    if dial.kind(load(target, weights=False)) != "required":
        dial.set_default(target, keep)
    dial.write_table(target, rows)
    notes: dict[str, Any] = {
        "keep": keep,
        "tokens": list(chosen.gene),
        "length": length,
        "cost": settings.cost,
        "chosen_cost": chosen.cost,
        "full_cost": full.cost,
        "macs": macs_of(chosen.gene),
        "full_macs": macs_of(space.full),
        "metric": metric_name,
        "chosen_metric": chosen.metric,
        "full_metric": full.metric,
        "within_max_drop": within_drop,
        "evaluations": len(points),
        "windows": len(windows.features),
        "measured_on": measured_on,
        "table": rows,
        **limits,
    }
    return PassResult(target, notes)


def _require_dial(source: Path, structure: Structure) -> LengthAdaptive:
    if structure.length_adaptive is None or dial.kind(load(source, weights=False)) is None:
        raise PassError(
            f"search_lengths: {source.name} has no length dial (input 'keep'): add the stage length_adaptive "
            "to the recipe, or take the pass search_lengths out."
        )
    return structure.length_adaptive


@contextmanager
def _with_dial(source: Path, target: Path) -> Iterator[Path]:
    """The graph with a dial that can be turned; a fixed one is made an input in a copy that only lives here."""
    model = load(source)
    if dial.kind(model) != "fixed":
        yield source
        return
    default = dial.default(source)
    dial.install(model, default or [], "optional")
    copy = target.with_name(f"{target.stem}.searched.onnx")
    save(model, copy)
    try:
        yield copy
    finally:
        copy.unlink()


def _examples(settings: SearchLengthsSettings, context: PassContext) -> Sequence[Any]:
    examples = context.data.search[: settings.samples]
    if not examples:
        raise RequestError(
            "search_lengths: the search part of the data is empty: give training data (data.train=...) and "
            "data.search above 0, or take the pass search_lengths out of the recipe."
        )
    return examples


def _budget(settings: SearchLengthsSettings, full: float, smallest: float) -> float | None:
    if settings.budget is None:
        return None
    budget = settings.budget * full if settings.cost == "macs" else settings.budget
    if budget < smallest:
        least = f"{smallest / full:.3f} of the MACs" if settings.cost == "macs" else f"{smallest:.2f} ms"
        raise RequestError(
            f"search_lengths: the budget {settings.budget} is below the cost of the smallest configuration "
            f"({least}): raise it."
        )
    return budget


def _choose(
    points: Sequence[Point], full: Point, settings: SearchLengthsSettings, budget: float | None
) -> tuple[Point, bool]:
    """The default, and whether it loses at most `max_drop`; if nothing within the budget does, the best there."""
    chosen = choose(points, full, max_drop=settings.max_drop, budget=budget)
    if chosen is not None:
        return chosen, True
    affordable = [point for point in points if budget is None or point.cost <= budget]
    return max(affordable, key=lambda point: (point.metric, -point.cost)), False


def _best_so_far(points: Sequence[Point], metric: str, settings: SearchLengthsSettings, budget: float | None) -> str:
    full = points[0]  # the full configuration is measured first
    best, _ = _choose(points, full, settings, budget) if budget is None or len(points) > 1 else (full, True)
    price = f"{best.cost:.1f} ms" if settings.cost == "latency" else f"{100 * best.cost / full.cost:.0f} % of the MACs"
    return f"{metric} {best.metric:.2f} at {price} (full {full.metric:.2f})"
