"""The lines of the final table: teacher, each stage, artifact."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from compressor.config.run import MeasureSettings
from compressor.devices import inputs, measure
from compressor.devices.place import Place, place_for
from compressor.devices.speed import Speed
from compressor.devices.tokenization import Tokenization, measure_tokenization
from compressor.errors import GateRefusedError
from compressor.models import macs
from compressor.models.config_file import read_config
from compressor.models.structure import Structure
from compressor.progress import Progress
from compressor.steps import Graph, Steps
from compressor.validation.agreement import Agreement, agreement
from compressor.validation.metric import Evaluation
from compressor.validation.on_board import BoardCheck, check_on_board
from compressor.validation.parity import Parity

Kind = Literal["teacher", "stage", "artifact"]
_ALL_RIGHT = 99.99
_FEW = 4
"""Examples too few to tell a teacher that has learnt nothing."""


@dataclass(frozen=True)
class Row:
    """One exported result with everything that was found out about it."""

    name: str
    kind: Kind
    graph: Graph
    size_bytes: int
    keep: tuple[float, ...] | None  # the length configuration it was judged at; None: no dial
    macs: int  # at the task's longest input and `keep`; mean of the layers that held-out texts needed
    evaluation: Evaluation
    parity: Parity
    agreement: Agreement
    seconds: float | None = None  # that a stage took when it was made
    speed: Speed | None = None
    tokenization: Tokenization | None = None  # of the artifact
    on_board: BoardCheck | None = None  # of the artifact, where the device is a board that was reached


def make_row(
    steps: Steps, name: str, kind: Kind, graph: Graph, plain: Graph, teacher: Row | None, seconds: float | None = None
) -> Row:
    """Judge one graph: metric, parity of the `plain` export behind it, agreement with the teacher, MACs."""
    keep = steps.keep_of(graph)
    check = steps.check(graph, plain, keep if steps.request.dial == "required" else None)
    config = read_config(graph.checkpoint.path)
    return Row(
        name=name,
        kind=kind,
        graph=graph,
        size_bytes=graph.path.stat().st_size,
        keep=None if keep is None else tuple(keep),
        macs=_macs(steps, config, keep, check.evaluation.blocks_run),
        evaluation=check.evaluation,
        parity=check.parity,
        agreement=agreement(steps.task, (teacher.evaluation if teacher else check.evaluation), check.evaluation),
        seconds=seconds,
    )


def _macs(steps: Steps, config: dict[str, Any], keep: Sequence[float] | None, blocks_run: Sequence[int] | None) -> int:
    """MACs of the task's longest input; of a model that stops early, the mean over what the held-out texts needed."""
    structure = Structure.from_config(config)
    needed: Sequence[int | None] = blocks_run or [None]
    texts = Counter(needed)
    total = sum(
        number
        * macs.count(config, structure, length=steps.task.max_length, keep=keep, blocks=blocks, task=steps.task.name)
        for blocks, number in texts.items()
    )
    return round(total / texts.total())


def with_speed(steps: Steps, rows: Sequence[Row]) -> list[Row]:
    """The same rows with their speed, all measured in one go, in turn, on the same texts at the same length.

    Where one of them can stop early, those are many held-out texts, and else the longest one at the longest length.
    Only the artifact must be measured: a teacher may be too large for the device, and has no speed then.
    """
    request = steps.request
    settings: MeasureSettings = request.measure
    stopped = [row.evaluation.blocks_run for row in rows if row.evaluation.blocks_run is not None]
    asked = [
        measure.Row(
            row.name,
            row.graph.path,
            inputs.to_time(
                steps.features(row.graph.checkpoint),
                stopped[-1] if stopped else None,
                settings,
                longest=steps.task.max_length,
                seed=request.seed,
                pad_id=steps.tokenizer(row.graph.checkpoint).pad_token_id or 0,
            ),
            row.keep if request.dial == "required" else None,
        )
        for row in rows
    ]
    with steps.progress.bar("measure speed", len(asked) * (settings.rounds + 1)) as bar:
        note: Callable[[str], None] = lambda name: bar.advance(note=name)  # noqa: E731
        with place_for(request.device) as place:  # one connection for all that follows
            others = [row.name for row in rows[:-1]]
            speeds = measure.measure_many(asked, request.device, settings, on_step=note, may_fail=others)
            artifact = rows[-1]
            tokens = _tokenization(steps, artifact, place)
            check = check_on_board(
                artifact.graph.path,
                steps.task,
                steps.data.dev,
                steps.tokenizer(artifact.graph.checkpoint),
                request.device,
                asked[-1].keep,
                rows=settings.device_rows,
            )
    for name in others:
        if name not in speeds:
            steps.progress.line(f"{name}: not measured, as it ran out of memory")
    timed = [dataclasses.replace(row, speed=speeds.get(row.name)) for row in rows]
    return [*timed[:-1], dataclasses.replace(timed[-1], on_board=check, tokenization=tokens)]


def _tokenization(steps: Steps, row: Row, place: Place) -> Tokenization:
    tokenizer = row.graph.checkpoint.path / "tokenizer.json"
    return measure_tokenization(tokenizer, steps.data.dev, place, max_length=steps.task.max_length)


def require_teacher(steps: Steps, teacher: Row) -> None:
    """Refuse a teacher that has learnt nothing where the artifact would be judged against it.

    Raises:
        GateRefusedError: It gives every example the same answer, though their right answers differ.
    """
    limit = steps.request.gates.max_metric_drop
    predictions = teacher.evaluation.predictions
    alike = all(one == predictions[0] for one in predictions)
    if limit is None or not alike or teacher.evaluation.primary >= _ALL_RIGHT or len(predictions) < _FEW:
        return
    metric, value = next(iter(teacher.evaluation.metrics.items()))
    raise GateRefusedError(
        f"the teacher gives every one of {len(predictions)} examples the same answer ({metric} {value:.2f}), so that "
        "nothing can be judged by it: train it longer or on more data, choose another one, or set "
        "gates.max_metric_drop=null."
    )


def tell(progress: Progress, row: Row) -> None:
    """One line for a result that is ready: metric, size, and the time that it took to make."""
    metric, value = next(iter(row.evaluation.metrics.items()))
    time = "" if row.seconds is None else f", {row.seconds:.0f} s"
    progress.line(f"{row.name}: {metric} {value:.2f}, {row.size_bytes / 1e6:.1f} MB{time}")
