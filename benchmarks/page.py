"""A page of results in sections: each measured in one sitting on one machine, and kept until it is measured anew."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

Section = Sequence[str]


def write(target: Path, intro: Sequence[str], sections: Mapping[str, Section | None], remarks: Path) -> None:
    """Write title and introduction, every section under its title, and the remarks that a person wrote.

    A section that is None has no results at hand: what the page says of it already stays as it is.
    """
    known = read(target)
    lines = list(intro)
    for title, section in sections.items():
        found = known.get(title) if section is None else section
        if found:
            lines += ["", f"## {title}", "", *found]
    text = remarks.read_text(encoding="utf-8") if remarks.exists() else ""
    target.write_text("\n".join(lines) + "\n\n" + text, encoding="utf-8")


def read(target: Path) -> dict[str, list[str]]:
    """The sections of a page by title, without the blank lines around them; none where there is no page."""
    found: dict[str, list[str]] = {}
    lines: list[str] = []
    for line in target.read_text(encoding="utf-8").splitlines() if target.exists() else []:
        if line.startswith("## "):
            lines = found.setdefault(line.removeprefix("## "), [])
        else:
            lines.append(line)
    return {title: "\n".join(lines).strip("\n").splitlines() for title, lines in found.items()}
