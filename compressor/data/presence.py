"""Is there data at all? A check that costs nothing, for `plan` and before anything is read."""

from __future__ import annotations

from pathlib import Path

from compressor.config.paths import expanded
from compressor.config.run import DataSettings
from compressor.data.reading import require_readable
from compressor.errors import DataError


def require_data(settings: DataSettings) -> None:
    """Check that what must be named is named, and that every file is there; nothing is read, nothing downloaded.

    Raises `DataError` with the sentence that a run would end with.
    """
    if settings.source == "demo":
        return
    if settings.source == "hub" and not settings.name:
        raise DataError("data=hub needs data.name=NAME, for example data.name=stanfordnlp/sst2.")
    if settings.labels is not None:
        require_readable(expanded(settings.labels))
    if settings.source != "files":
        return
    if not settings.dev:
        raise DataError("data=files needs data.dev=PATH: the examples that the result is reported on.")
    if settings.train == settings.dev and "#" not in settings.dev and not _holds_parts(settings.dev):
        raise DataError(f"data.train and data.dev are the same file, {settings.dev}: give dev data of its own.")
    for location in filter(None, (settings.train, settings.dev)):
        require_readable(divide(location)[0])


def divide(location: str) -> tuple[Path, list[str]]:
    """Path and chosen parts of PATH#PART+PART; a # that belongs to the name of a file is left there."""
    path = expanded(location)
    stem, mark, parts = location.rpartition("#")
    if not mark or path.exists():
        return path, []
    return expanded(stem), [part for part in parts.split("+") if part]


def _holds_parts(location: str) -> bool:
    return Path(location.removesuffix(".gz")).suffix == ".json"
