"""One measurement at a time on each machine, whichever process asks for it: two at once would slow each other."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock


@contextmanager
def turn_to_measure(host: str | None) -> Iterator[None]:
    """Wait until no other process of this user, started on this machine, measures on `host` (None: this machine)."""
    folder = Path(tempfile.gettempdir()) / f"compressor-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    name = hashlib.sha256((host or "").encode()).hexdigest()[:12]
    with FileLock(folder / f"measuring-{name}.lock", is_singleton=True):
        yield
