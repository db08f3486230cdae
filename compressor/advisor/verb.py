"""The verb `advise`: ask, answer, show."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.text import Text

from compressor.advisor.requests import ask, said
from compressor.console import Console, out, simple_table
from compressor.errors import GateRefusedError
from compressor.report.entry import Entry

if TYPE_CHECKING:
    from compressor.advisor.answer import Advice

_SHOWN = 12
"""Lines of the table on the console; the page has all."""


def run(settings: Sequence[str], config_dirs: Sequence[str]) -> int:
    """Answer and show it; raises `GateRefusedError` where nothing fits, once the answer is written and shown."""
    question = ask(settings, config_dirs)
    from compressor.advisor.advise import advise  # what is heavy is imported once the question is right

    advice = advise(question, Console())
    show(advice)
    if advice.outcome == "nothing fits":
        closest = f"; {advice.closest.said()}" if advice.closest else ""
        raise GateRefusedError(f"nothing fits: {advice.reason}{closest}")
    return 0


def show(advice: Advice) -> None:
    """The best candidates, the answer in words, and the command that makes it."""
    console = out()
    entries = advice.entries()
    heads = (advice.metric_name, "on search", "p50 ms", "peak MiB", "size MB")
    table = simple_table("candidate", *heads, "", "", right=(1, 2, 3, 4, 5))
    for entry in entries[:_SHOWN]:
        mark = "Pareto" if entry.pareto else ""
        table.add_row(entry.name, *_figures(entry), mark, f"{entry.state}{f': {entry.reason}' if entry.reason else ''}")
    console.print(table)
    if len(entries) > _SHOWN:
        console.print(Text(f"... and {len(entries) - _SHOWN} others in report.html"))
    for sentence in advice.sentences():
        console.print(Text(sentence))
    console.print(Text(f"written: {advice.question.folder / 'report.html'}"))
    if advice.recommended is not None:
        console.print(Text(said(advice.command())), soft_wrap=True)


def _figures(entry: Entry) -> list[str]:
    """Metric on the held-out data and on the search part, latency, memory, size; `~` marks predictions."""
    cells = []
    for name, digits in (("metric", 2), ("search_metric", 2), ("p50_ms", 2), ("peak_memory_mb", 0), ("size_mb", 1)):
        figure = entry.figures.get(name)
        mark = "~" if figure is not None and figure.origin == "predicted" else ""
        noisy = " noisy" if name == "p50_ms" and entry.noisy else ""
        cells.append("" if figure is None else f"{mark}{figure.value:.{digits}f}{noisy}")
    return cells
