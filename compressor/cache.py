"""Results kept by content: what was made once from the same inputs is not made again.

`<root>/<key>/` holds one result: `content/` with its files and `entry.json`, which says what it is. An entry is made
in a temporary folder, flushed and renamed, so that it exists whole or not at all; one lock a key keeps two runs from
making the same thing at once, and a killed run's work folder stays for the next one to go on from.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from compressor.disk import flush, flush_folder, full, is_full, storage_errors
from compressor.errors import StorageError

_ENTRY = "entry.json"
_KEY = "[a-z][a-z0-9_-]*-[0-9a-f]{24}"  # the form of `make_key`


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


@dataclass(frozen=True)
class Unfinished:
    """What a run that ended before a result was made has left to go on from: a training's saves."""

    key: str  # of the result
    path: Path
    size_bytes: int
    last_used: float  # seconds since the epoch


class Cache:
    """A folder of kept results."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def find(self, key: str) -> Entry | None:
        """The entry of that key if it is there and whole."""
        entry = _read(self.root / key)
        if entry is not None:
            _touch(entry.path.parent / _ENTRY)
        return entry

    def get_or_make(self, key: str, title: str, make: Callable[[Path, Path], Mapping[str, Any] | None]) -> Entry:
        """The entry of that key, made if it is not there.

        `make(output, work)` writes files into the empty folder `output` and returns plain values to keep beside them;
        `work` is a folder that survives a killed run and goes away when `make` returns.
        Raises `StorageError` when the disk refuses; other errors of `make` pass through, and nothing is kept.
        """
        found = self.find(key)
        if found is not None:
            return found
        with self.in_use(), self._making(key):
            return self.find(key) or self._make(key, title, make)

    def entries(self) -> list[Entry]:
        """All whole entries, the one used last first. Raises `StorageError` for a folder that cannot be read."""
        found = [entry for folder in self._named(self.root, _KEY) if (entry := _read(folder))]
        return sorted(found, key=lambda entry: entry.last_used, reverse=True)

    def unfinished(self) -> list[Unfinished]:
        """What runs that ended early left to go on from, the one written last first."""
        found = []
        with _own_files(self.root):
            for folder in self._named(self.root / ".work", _KEY):
                stats = [file.stat() for file in folder.rglob("*") if file.is_file()]
                if stats:
                    size, last = sum(stat.st_size for stat in stats), max(stat.st_mtime for stat in stats)
                    found.append(Unfinished(folder.name, folder, size, last))
        return sorted(found, key=lambda left: left.last_used, reverse=True)

    def clean(self, max_bytes: int = 0) -> tuple[int, int]:
        """Remove what was used longest ago, entries and unfinished work, until at most `max_bytes` are left.

        What is damaged or half-made goes in any case, and with `max_bytes` 0 what `plan` knows of the data; nothing
        goes that has not a name that a cache gives. Returns how many entries and unfinished ones went, and their bytes.
        Raises `StorageError` while a run uses the cache, or if something cannot be removed.
        """
        with _own_files(self.root):
            if next(self._removable(), None) is None:
                return 0, 0
            with self._guard():
                if self._in_use():
                    raise StorageError(f"a run is using the cache {self.root}: clean it when that run has ended.")
                return self._clean(max_bytes)

    def _clean(self, max_bytes: int) -> tuple[int, int]:
        kept = [(entry.last_used, entry.size_bytes, entry.path.parent) for entry in self.entries()]
        kept += [(left.last_used, left.size_bytes, left.path) for left in self.unfinished()]
        spared = {folder for _, _, folder in kept}
        for path in list(self._removable(everything=max_bytes == 0)):
            if path not in spared:
                _remove(path)
        total = sum(size for _, size, _ in kept)
        gone = freed = 0
        for _, size, folder in sorted(kept):
            if total - freed <= max_bytes:
                break
            _remove(folder)
            gone, freed = gone + 1, freed + size
        return gone, freed

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Keeps `clean` of another process away while a run reads entries.

        Raises `StorageError` where no cache can be kept: a file is in the way, or the folder cannot be written.
        """
        with _own_files(self.root), self._guard():
            mark = FileLock(self.root / ".runs" / f"{os.getpid()}-{uuid.uuid4().hex[:8]}.lock")
            mark.acquire()
        try:
            yield
        finally:
            mark.release()
            with suppress(OSError):
                Path(mark.lock_file).unlink()

    def _guard(self) -> FileLock:
        """Held by `clean` throughout, and by a run while it marks itself as running; never removed."""
        (self.root / ".runs").mkdir(parents=True, exist_ok=True)
        return FileLock(self.root / ".runs" / "guard")

    @contextmanager
    def _making(self, key: str) -> Iterator[None]:
        """Keeps other runs from making the same entry."""
        with _own_files(self.root):
            (self.root / ".locks").mkdir(parents=True, exist_ok=True)
            lock = FileLock(self.root / ".locks" / f"{key}.lock")
            lock.acquire()
        try:
            yield
        finally:
            lock.release()

    def _in_use(self) -> bool:
        """Whether a run marked itself and lives; marks of killed runs are removed. Asked with the guard held."""
        for mark in (self.root / ".runs").glob("*.lock"):
            try:
                with FileLock(mark, timeout=0):
                    mark.unlink()
            except Timeout:
                return True
        return False

    def _make(self, key: str, title: str, make: Callable[[Path, Path], Mapping[str, Any] | None]) -> Entry:
        work = self.root / ".work" / key
        temporary = self.root / ".new" / f"{key}-{uuid.uuid4().hex[:8]}"
        with _own_files(self.root):
            for left in (self.root / ".new").glob(f"{key}-*"):  # we hold the key's lock: whoever made them was killed
                shutil.rmtree(left, ignore_errors=True)
            (temporary / "content").mkdir(parents=True)
            work.mkdir(parents=True, exist_ok=True)
        started = time.time()
        try:
            with storage_errors(self.root):
                notes = dict(make(temporary / "content", work) or {})
            about = {
                "title": title,
                "notes": notes,
                "seconds": round(time.time() - started, 3),
                "files": _sizes(temporary / "content"),
            }
            text = json.dumps(about, indent=1, ensure_ascii=False)
            with _own_files(self.root):
                (temporary / _ENTRY).write_text(text, encoding="utf-8")
                flush(temporary)
                final = self.root / key
                if final.exists():  # there, but not whole
                    _remove(final)
                temporary.rename(final)
                flush_folder(self.root)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        shutil.rmtree(work, ignore_errors=True)
        entry = _read(self.root / key)
        if entry is None:
            raise StorageError(f"{self.root / key} could not be read back: is the disk damaged?")
        return entry

    def _removable(self, everything: bool = True) -> Iterator[Path]:
        """Whatever here is ours by its name; without `everything`, only results, whole or not, and unfinished work."""
        for folder in self._named(self.root, _KEY):
            if folder.is_dir() and {path.name for path in folder.iterdir()} <= {"content", _ENTRY}:
                yield folder
        yield from self._named(self.root / ".new", f"{_KEY}-[0-9a-f]{{8}}")
        yield from self._named(self.root / ".work", _KEY)
        if everything:
            yield from self._named(self.root / ".locks", rf"{_KEY}\.lock")
            yield from self._named(self.root / ".data", rf"{_KEY}\.[.a-z0-9]+")
            yield from self._named(self.root, r"\.fingerprints\.[.a-z0-9]+")

    def _named(self, folder: Path, pattern: str) -> list[Path]:
        """What in `folder` has a name of that form; nothing where there is no such folder."""
        with _own_files(self.root):
            if not folder.is_dir():
                return []
            return [path for path in folder.iterdir() if re.fullmatch(pattern, path.name)]


def _read(folder: Path) -> Entry | None:
    """The entry that a folder holds; None if it is damaged or none of ours."""
    file, content = folder / _ENTRY, folder / "content"
    try:
        about = json.loads(file.read_text(encoding="utf-8"))
        last_used, sizes = file.stat().st_mtime, _sizes(content)
    except (OSError, ValueError):
        return None
    match about:
        case {"title": str(title), "notes": dict(notes), "seconds": int() | float() as seconds, "files": dict(files)}:
            if files == sizes:
                return Entry(folder.name, content, title, notes, float(seconds), sum(sizes.values()), last_used)
    return None


@contextmanager
def _own_files(root: Path) -> Iterator[None]:
    """Turns all that goes wrong with the cache's own files into a `StorageError`."""
    try:
        yield
    except (OSError, NotImplementedError) as error:  # the latter where files cannot be locked
        if is_full(error):
            raise full(root) from error
        reason = getattr(error, "strerror", None) or str(error)
        raise StorageError(f"the cache {root} cannot be used: {reason}. Choose another folder: output=DIR.") from error


def _sizes(folder: Path) -> dict[str, int]:
    return {str(file.relative_to(folder)): file.stat().st_size for file in sorted(folder.rglob("*")) if file.is_file()}


def _touch(file: Path) -> None:
    try:
        os.utime(file)
    except OSError:  # a cache that is only readable still serves
        return


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()
