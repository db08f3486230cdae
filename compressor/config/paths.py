"""Paths as a user writes them."""

from __future__ import annotations

from pathlib import Path


def expanded(path: str | Path) -> Path:
    """A path with the home folder in place of its `~`; one of a user who does not exist is left as it is."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        return Path(path)
