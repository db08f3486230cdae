"""The verb `report`: one page of all runs under some folders."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.text import Text

from compressor import console
from compressor.artifact.manifest import NAME
from compressor.config.paths import expanded
from compressor.errors import RequestError, UnknownNameError
from compressor.report import tables
from compressor.report.entry import FIGURES, Entry
from compressor.report.gather import gather
from compressor.report.page import measured, render
from compressor.request.overrides import path_of

PAGE = "report.html"
SHOWN = 40
"""Lines of the table on the console."""
_COLUMNS = ("metric", "metric_drop", "p50_ms", "peak_memory_mb", "size_mb")


def report(places: Sequence[str], settings: Sequence[str]) -> int:
    """Write the page with `runs.json` and `runs.csv` beside it; `settings` are `output=FILE` alone.

    What cannot be read is a line on standard error each; everything else is shown.

    Raises:
        RequestError: No folder is given, one is not there, nothing is found, or the page would be in the way of an
            artifact's own.
    """
    if not places:
        raise RequestError("report needs the folders of runs: python -m compressor report DIR [DIR ...]")
    file = _file(settings)
    found = gather([expanded(place) for place in places])
    for problem in found.problems:
        console.error(problem)
    if not found.entries:
        raise RequestError(f"no run was found under {', '.join(places)}: give folders that hold {NAME} files of runs.")
    title = f"{len(found.entries)} runs" if len(found.entries) > 1 else "One run"
    page = render(found.entries, title=title, lead=[f"Gathered from {', '.join(places)}."], problems=found.problems)
    tables.write(file.parent, page, found.entries, found.problems, name=file.name)
    show(found.entries)
    console.Console().line(f"written: {file}, runs.json and runs.csv beside it")
    return 0


def show(entries: Sequence[Entry]) -> None:
    """The runs as a table on the console."""
    columns = [name for name in _COLUMNS if any(name in entry.figures for entry in entries)]
    heads = [f"{FIGURES[name].label}, {FIGURES[name].unit}" for name in columns]
    table = console.simple_table("run", "device", "state", *heads, "measured", right=range(3, 3 + len(heads)))
    for entry in entries[:SHOWN]:
        figures = [_figure(entry, name) for name in columns]
        table.add_row(entry.name, entry.device, entry.state, *figures, measured(entry))
    screen = console.out()
    screen.print(table)
    if len(entries) > SHOWN:
        screen.print(Text(f"... and {len(entries) - SHOWN} more, all of them in the page"))


def _figure(entry: Entry, name: str) -> str:
    value = entry.value(name)
    if value is None:
        return ""
    noisy = " noisy" if name == "p50_ms" and entry.noisy else ""
    large = " does not fit" if name == "peak_memory_mb" and entry.fits_memory is False else ""
    return f"{value:.{FIGURES[name].digits}f}{noisy}{large}"


def _file(settings: Sequence[str]) -> Path:
    name = PAGE
    for setting in settings:
        key, _, value = setting.partition("=")
        if key != "output":
            raise UnknownNameError("key", key, ["output"], "report")
        name = path_of(value)
    file = expanded(name or PAGE)
    file = file / PAGE if file.is_dir() else file
    if file.suffix not in (".html", ".htm"):
        raise RequestError(f"output={name} is no page: give a file that ends in .html, or a folder that is there.")
    if (file.parent / NAME).exists():
        raise RequestError(f"{file.parent} holds a run of its own: write the page elsewhere with output=FILE.")
    return file
