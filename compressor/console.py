"""What the user sees: progress bars and tables on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich import box
from rich.console import Console as RichConsole
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress
from rich.table import Table
from rich.text import Text

from compressor.progress import Bar

if TYPE_CHECKING:
    from rich.progress import TaskID

    from compressor.pipeline import Outcome
    from compressor.rows import Row
    from compressor.validation.gates import Verdict

LINE_SECONDS = 30.0
PLAIN_WIDTH = 150
"""Columns of tables that do not go to a terminal."""


def out() -> RichConsole:
    """Standard output, which takes text as it is; wide enough for tables when it is a file or a pipe."""
    return RichConsole(highlight=False, markup=False, emoji=False, width=None if sys.stdout.isatty() else PLAIN_WIDTH)


def error(text: str) -> None:
    """One line on standard error."""
    print(f"error: {' '.join(text.split())}", file=sys.stderr, flush=True)


class _RichBar:
    def __init__(self, progress: RichProgress, task: TaskID) -> None:
        self.progress = progress
        self.task = task

    def advance(self, steps: int = 1, note: str = "") -> None:
        """Move on."""
        self.progress.advance(self.task, steps)
        if note:
            self.progress.update(self.task, note=note)


class _LineBar:
    """Where there is no terminal: a line now and then, so that a log shows that long work goes on."""

    def __init__(self, console: Console, title: str, total: int) -> None:
        self.console = console
        self.title = title
        self.total = total
        self.done = 0
        self.said = time.monotonic()

    def advance(self, steps: int = 1, note: str = "") -> None:
        """Move on; the first line comes after half a minute."""
        self.done += steps
        if time.monotonic() - self.said >= LINE_SECONDS:
            self.said = time.monotonic()
            self.console.line(f"{self.title}: {self.done} of {self.total}{f', {note}' if note else ''}")


class Console:
    """`Progress` on the console: bars that vanish when they end, lines that stay."""

    def __init__(self, console: RichConsole | None = None) -> None:
        self.console = console or out()
        self._running: RichProgress | None = None

    @contextmanager
    def bar(self, title: str, total: int) -> Iterator[Bar]:
        """A bar on a terminal, a line every half minute elsewhere; a bar inside another one stands below it."""
        if not self.console.is_terminal:
            yield _LineBar(self, title, total)
        elif self._running is not None:
            yield from self._rows(self._running, title, total)
        else:
            columns = (
                TextColumn("{task.description}", markup=False),
                BarColumn(),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                TimeRemainingColumn(),
                TextColumn("{task.fields[note]}", style="dim", markup=False),
            )
            with RichProgress(*columns, console=self.console, transient=True) as running:
                self._running = running
                try:
                    yield from self._rows(running, title, total)
                finally:
                    self._running = None

    def line(self, text: str) -> None:
        """A line that stays."""
        self.console.print(Text(text), soft_wrap=True)

    @staticmethod
    def _rows(running: RichProgress, title: str, total: int) -> Iterator[Bar]:
        task = running.add_task(title, total=total, note="")
        try:
            yield _RichBar(running, task)
        finally:
            running.remove_task(task)


def show_outcome(outcome: Outcome) -> None:
    """The final table and the gates of a run."""
    console = out()
    if outcome.already_there:
        console.print(Text(f"{outcome.artifact} is there already, written by this very request, and verified."))
        return
    show_rows(outcome.rows, outcome.verdicts)
    console.print(Text(f"written: {outcome.artifact}"))


def show_rows(rows: Sequence[Row], verdicts: Sequence[Verdict]) -> None:
    """The table of a run with what its latencies are, and the gates."""
    console = out()
    console.print(rows_table(rows))
    last = next((row.speed for row in reversed(rows) if row.speed), None)
    if last is not None:
        where = f"Latency: p50 of {last.taken_with()}, batch {last.batch_size}, {last.threads} threads"
        console.print(Text(f"{where}; measured on {last.measured_on}."))
    for line in _depth_dial(rows[-1]):
        console.print(Text(line))
    for line in _doubts(rows):
        console.print(Text(line))
    show_verdicts(verdicts, console)


def _depth_dial(row: Row) -> Iterator[str]:
    """The depth dial's value and the layers that ran at it; a warning where it saves nothing."""
    blocks = row.evaluation.blocks_run
    if blocks is None:
        return
    from compressor.graph.dial import DEPTH_DIALS, depth_default
    from compressor.models.config_file import read_config
    from compressor.models.families import family_of
    from compressor.models.structure import Structure

    config = read_config(row.graph.checkpoint.path)
    depth, value = Structure.from_config(config).adaptive_depth, depth_default(row.graph.path)
    if depth is None or value is None:
        return
    layers, mean = family_of(config).layer_count(config), sum(blocks) / len(blocks)
    dial = f"{DEPTH_DIALS[depth.method]} {value:g}"
    yield (
        f"Depth dial: at {dial} held-out texts needed {mean:.2f} of {layers} layers in the mean; the artifact's MMACs "
        "are their mean."
    )
    if min(blocks) >= layers:
        yield (
            "Warning: nothing stopped early, so that the depth dial saves nothing at this value: turn it at a call "
            "(--depth), let search_depth lose more (max_drop), or train the exits longer."
        )


def _doubts(rows: Sequence[Row]) -> Iterator[str]:
    """What a reader of the figures must know: memory that does not suffice, rounds that disagree, other answers."""
    speed, check = rows[-1].speed, rows[-1].on_board
    if speed is not None and speed.fits_memory is not None:
        fits = "fits" if speed.fits_memory else "does not fit"
        yield f"Memory: the artifact {fits} ({speed.memory_note})."
    noisy = [f"{row.name}: {' and '.join(doubts)}" for row in rows if row.speed and (doubts := row.speed.doubts())]
    if noisy:
        yield f"The machine was too noisy ({'; '.join(noisy)})."
    if check is not None:
        yield (
            f"Answers of {check.measured_on}: {check.same:.1f} % of {check.examples} examples as on this machine, "
            f"outputs differ by at most {check.max_abs:.2g}."
        )


def show_verdicts(verdicts: Sequence[Verdict], console: RichConsole) -> None:
    """One line a gate."""
    for verdict in verdicts:
        console.print(Text(f"gate {verdict.sentence()}"))


def rows_table(rows: Sequence[Row]) -> Table:
    """Teacher, each stage, artifact: metric, agreement, size, MACs, latency, speed-up."""
    metric = next(iter(rows[0].evaluation.metrics))
    table = simple_table("", metric, "agrees", "size MB", "MMACs", "p50 ms", "speed-up", "peak MiB", right=range(1, 8))
    base = rows[0].speed.p50_ms if rows[0].speed else None
    for row in rows:
        speed = row.speed
        ratio = f"{base / speed.p50_ms:.2f}x" if base and speed else ""
        table.add_row(
            row.name,
            f"{row.evaluation.primary:.2f}",
            f"{100 * row.agreement.same:.1f} %",
            f"{row.size_bytes / 1e6:.2f}",
            f"{row.macs / 1e6:,.1f}",
            f"{speed.p50_ms:.2f}" if speed else "",
            ratio,
            f"{speed.peak_memory_mb:.0f}" if speed and speed.peak_memory_mb else "",
        )
    return table


def simple_table(*columns: str, right: Sequence[int] = ()) -> Table:
    """A table without frames; `right` names columns of numbers."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for place, column in enumerate(columns):
        table.add_column(column, justify="right" if place in right else "left", overflow="fold")
    return table
