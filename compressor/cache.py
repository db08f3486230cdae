"""Results kept by content: what was made once from the same inputs is not made again.

`<root>/<key>/` holds one result: `content/` with its files and `entry.json`, which says what it is. An entry is made
in a temporary folder and renamed, so that it exists whole or not at all; one lock a key keeps two runs from making
the same thing at once, and a killed run's work folder stays for the next one to go on from.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from compressor.errors import StorageError

_ENTRY = "entry.json"
_FULL = (errno.ENOSPC, errno.EDQUOT)


@dataclass(frozen=True)
class Entry:
    """One kept result: its files under `path`, plain values in `notes`, and what it is for the eye."""

    key: str
    path: Path
    title: str
    notes: dict[str, Any]
    seconds: float  # that it took to make
    size_bytes: int
    last_used: float  # seconds since the epoch


def make_key(kind: str, parts: Mapping[str, Any]) -> str:
    """A key from everything that a result depends on: `<kind>-<first 24 digits of SHA-256 of the sorted JSON>`."""
    text = json.dumps(parts, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return f"{kind}-{hashlib.sha256(text.encode()).hexdigest()[:24]}"


class Cache:
    """A folder of kept results."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def find(self, key: str) -> Entry | None:
        """The entry of that key if it is there and whole."""
        entry = self._read(self.root / key)
        if entry is not None:
            _touch(entry.path.parent / _ENTRY)
        return entry

    def get_or_make(self, key: str, title: str, make: Callable[[Path, Path], Mapping[str, Any] | None]) -> Entry:
        """The entry of that key, made if it is not there.

        `make(output, work)` writes files into the empty folder `output` and returns plain values to keep beside them;
        `work` is a folder that survives a killed run and goes away when `make` returns.
        Raises `StorageError` when the disk is full; other errors of `make` pass through, and nothing is kept.
        """
        found = self.find(key)
        if found is not None:
            return found
        with storage_errors(self.root):
            (self.root / ".locks").mkdir(parents=True, exist_ok=True)
            with FileLock(self.root / ".locks" / f"{key}.lock"):
                return self.find(key) or self._make(key, title, make)

    def entries(self) -> list[Entry]:
        """All whole entries, the one used last first."""
        folders = self.root.iterdir() if self.root.is_dir() else iter(())
        found = [entry for folder in folders if not folder.name.startswith(".") and (entry := self._read(folder))]
        return sorted(found, key=lambda entry: entry.last_used, reverse=True)

    def clean(self, max_bytes: int = 0) -> tuple[int, int]:
        """Remove the entries that were used longest ago until at most `max_bytes` are left, and what runs left behind.

        Returns how many entries and bytes went. Raises `StorageError` while a run uses the cache.
        """
        if not self.root.is_dir():
            return 0, 0
        if self._in_use():
            raise StorageError(f"a run is using the cache {self.root}: clean it when that run has ended.")
        entries = self.entries()
        kept = {entry.key for entry in entries}
        for folder in list(self.root.iterdir()):
            if folder.name not in kept:
                shutil.rmtree(folder, ignore_errors=True)
        total = sum(entry.size_bytes for entry in entries)
        gone = freed = 0
        for entry in reversed(entries):
            if total - freed <= max_bytes:
                break
            shutil.rmtree(entry.path.parent)
            gone, freed = gone + 1, freed + entry.size_bytes
        return gone, freed

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Keeps `clean` of another process away while a run reads entries."""
        with storage_errors(self.root):
            folder = self.root / ".runs"
            folder.mkdir(parents=True, exist_ok=True)
        mark = folder / f"{os.getpid()}-{uuid.uuid4().hex[:8]}.lock"
        try:
            with FileLock(mark):
                yield
        finally:
            mark.unlink(missing_ok=True)

    def _in_use(self) -> bool:
        for mark in (self.root / ".runs").glob("*.lock"):
            try:
                with FileLock(mark, timeout=0):
                    pass
            except Timeout:
                return True
        return False

    def _make(self, key: str, title: str, make: Callable[[Path, Path], Mapping[str, Any] | None]) -> Entry:
        work = self.root / ".work" / key
        temporary = self.root / ".new" / f"{key}-{uuid.uuid4().hex[:8]}"
        for left in (self.root / ".new").glob(f"{key}-*"):  # we hold the key's lock: whoever made them was killed
            shutil.rmtree(left, ignore_errors=True)
        (temporary / "content").mkdir(parents=True)
        work.mkdir(parents=True, exist_ok=True)
        started = time.time()
        try:
            notes = dict(make(temporary / "content", work) or {})
            about = {
                "title": title,
                "notes": notes,
                "seconds": round(time.time() - started, 3),
                "files": _sizes(temporary / "content"),
            }
            (temporary / _ENTRY).write_text(json.dumps(about, indent=1, ensure_ascii=False), encoding="utf-8")
            final = self.root / key
            if final.exists():  # there, but not whole
                shutil.rmtree(final)
            temporary.rename(final)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        shutil.rmtree(work, ignore_errors=True)
        entry = self._read(self.root / key)
        if entry is None:
            raise StorageError(f"{self.root / key} could not be read back: is the disk damaged?")
        return entry

    def _read(self, folder: Path) -> Entry | None:
        file = folder / _ENTRY
        try:
            about = json.loads(file.read_text(encoding="utf-8"))
            last_used = file.stat().st_mtime
        except (OSError, ValueError):
            return None
        content = folder / "content"
        if _sizes(content) != about["files"]:
            return None
        return Entry(
            key=folder.name,
            path=content,
            title=about["title"],
            notes=about["notes"],
            seconds=about["seconds"],
            size_bytes=sum(about["files"].values()),
            last_used=last_used,
        )


@contextmanager
def storage_errors(place: Path) -> Iterator[None]:
    """Turns "no space left" from any library into one `StorageError` that says what to do."""
    try:
        yield
    except StorageError:
        raise
    except Exception as error:
        if _is_full(error):
            raise StorageError(
                f"no space left while writing to {place}: free some, for example by `python -m compressor cache clean`."
            ) from error
        if isinstance(error, PermissionError):
            raise StorageError(f"{error.filename or place}: {error.strerror}.") from error
        raise


def _is_full(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, OSError) and error.errno in _FULL:
            return True
        if "no space left on device" in str(error).lower():
            return True
        error = error.__cause__ or error.__context__
    return False


def _sizes(folder: Path) -> dict[str, int]:
    return {str(file.relative_to(folder)): file.stat().st_size for file in sorted(folder.rglob("*")) if file.is_file()}


def _touch(file: Path) -> None:
    try:
        os.utime(file)
    except OSError:  # a cache that is only readable still serves
        return
