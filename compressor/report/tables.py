"""The same runs as plain data: `runs.json` and `runs.csv`."""

from __future__ import annotations

import csv
import io
import json
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from compressor.disk import storage_errors, write_text
from compressor.report.entry import FIGURES, Entry
from compressor.report.page import measured

_WORDS = ("name", "state", "recipe", "task", "data", "device", "metric_name", "folder", "reason")
_YES = {True: "yes", False: "no", None: ""}


def to_json(entries: Sequence[Entry], problems: Sequence[str] = ()) -> str:
    """All figures with where they come from, and what could not be shown."""
    runs = [_mapping(entry) for entry in entries]
    return json.dumps({"runs": runs, "not_shown": list(problems)}, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def to_csv(entries: Sequence[Entry]) -> str:
    """One line a run: words, then the figures in the units of their names."""
    columns = [name for name in FIGURES if any(name in entry.figures for entry in entries)]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*_WORDS, "measured", "measured_on", "fits_memory", *columns, "command"])
    for entry in entries:
        words = [getattr(entry, name) for name in _WORDS]
        figures = ["" if (value := entry.value(name)) is None else f"{value:.6g}" for name in columns]
        told = [measured(entry), entry.measured_on, _YES[entry.fits_memory]]
        writer.writerow([*words, *told, *figures, shlex.join(entry.command)])
    return text.getvalue()


def write(folder: Path, page: str, entries: Sequence[Entry], problems: Sequence[str] = (), *, name: str) -> None:
    """Put the page, called `name`, `runs.json` and `runs.csv` into a folder; raises `StorageError`."""
    with storage_errors(folder):
        write_text(folder / name, page)
        write_text(folder / "runs.json", to_json(entries, problems))
        write_text(folder / "runs.csv", to_csv(entries))


def _mapping(entry: Entry) -> dict[str, Any]:
    figures = {
        name: {key: value for key, value in vars(figure).items() if value not in (None, "")}
        for name, figure in entry.figures.items()
    }
    more = {"request_key": entry.manifest.request_key, "created": entry.manifest.created} if entry.manifest else {}
    return {
        **{name: getattr(entry, name) for name in _WORDS},
        **more,
        "fits_memory": entry.fits_memory,
        "command": list(entry.command),
        "figures": figures,
    }
