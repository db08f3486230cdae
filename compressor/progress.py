"""What the user sees while work goes on. A stage or pass only knows this interface."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol


class Bar(Protocol):
    """A running progress bar."""

    def advance(self, steps: int = 1, note: str = "") -> None:
        """Move on; `note` replaces the text behind the bar (a loss, a metric)."""


class Progress(Protocol):
    """Progress bars and single lines."""

    def bar(self, title: str, total: int) -> AbstractContextManager[Bar]:
        """Open a bar of `total` steps."""

    def line(self, text: str) -> None:
        """Print one line that stays."""


class _SilentBar:
    def advance(self, steps: int = 1, note: str = "") -> None:
        """Do nothing."""


class Silent:
    """Shows nothing (tests, library use)."""

    @contextmanager
    def bar(self, title: str, total: int) -> Iterator[Bar]:
        """Open a bar that shows nothing."""
        yield _SilentBar()

    def line(self, text: str) -> None:
        """Print nothing."""
