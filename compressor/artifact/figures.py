"""Figures and names as the card and the report write them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import PurePath
from typing import Any


def shown_name(name: Any) -> str:
    """A name without the folders of the machine it came from: hub names stay, paths lose their parents."""
    text = str(name or "unknown")
    path = PurePath(text)
    return path.name if path.is_absolute() or text.startswith((".", "~")) else text


def table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A Markdown table; None is shown as a dash, columns without any value are left out."""
    lines = [list(row) for row in rows]
    columns = [place for place in range(len(head)) if place == 0 or any(row[place] is not None for row in lines)]
    cells = [[head[place] for place in columns], ["---"] * len(columns)]
    cells += [
        ["–" if row[place] is None else str(row[place]).replace("|", "\\|") for place in columns] for row in lines
    ]
    return "\n".join(f"| {' | '.join(row)} |" for row in cells)


def number(value: float | None, form: str = ".2f") -> str | None:
    """A number for a table, or None."""
    return None if value is None else format(value, form)


def signed(value: float) -> str:
    """Points with their sign, and +0.00 for all that is shown as nothing."""
    return format(round(value, 2) + 0.0, "+.2f")
