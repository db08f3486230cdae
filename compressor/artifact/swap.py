"""Put a finished folder in place of another: whole, or not at all.

A directory cannot be renamed over a full one, so the old one is moved aside first (`.<name>.old`). A swap that was
cut short between the two renames is mended at the next start: the old folder is put back. Who writes or mends holds
`.<name>.lock`, so that what lies beside the target then is known to be of processes that have ended.
"""

from __future__ import annotations

import glob
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from compressor.disk import flush, flush_folder
from compressor.errors import StorageError


def old_of(target: Path) -> Path:
    """Where the folder that is being replaced waits."""
    return target.parent / f".{target.name}.old"


def mend(target: Path) -> None:
    """Undo a swap that was cut short, and remove what ended processes left half-written beside `target`.

    Does nothing while another process writes there: it has mended already. Raises `StorageError`.
    """
    try:
        if old_of(target).exists() or _lock_of(target).exists() or _half_written(target):
            with _alone(target, timeout=0):
                _mend(target)
    except Timeout:
        return
    except OSError as error:
        raise StorageError(f"{target}: an interrupted write could not be mended: {error}.") from error


@contextmanager
def building(target: Path) -> Iterator[Path]:
    """An empty sibling of `target` to write into; it takes the target's place at the end, or leaves nothing behind.

    Waits while another process writes the same target. Raises `StorageError` when the disk refuses (it may be full).
    """
    new = target.parent / f".{target.name}.new-{uuid.uuid4().hex[:8]}"
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with _alone(target, timeout=-1):
            try:
                _mend(target)
                new.mkdir()
                yield new
                flush(new)
                _swap(new, target)
            finally:
                shutil.rmtree(new, ignore_errors=True)
    except OSError as error:
        reason = error.strerror or str(error)
        raise StorageError(f"cannot write {target}: {reason}. What was there before is unchanged.") from error


@contextmanager
def _alone(target: Path, *, timeout: float) -> Iterator[None]:
    """Holds the lock of `target`; its file goes before it is released, so that nothing is left beside artifacts."""
    lock = _lock_of(target)
    with FileLock(lock, timeout=timeout):
        try:
            yield
        finally:
            with suppress(OSError):
                lock.unlink()


def _mend(target: Path) -> None:
    old = old_of(target)
    if old.exists():
        if target.exists():
            shutil.rmtree(old)
        else:
            old.rename(target)
    for left in _half_written(target):
        shutil.rmtree(left, ignore_errors=True)


def _swap(new: Path, target: Path) -> None:
    old = old_of(target)
    try:
        if target.exists():
            target.rename(old)
        new.rename(target)
    except BaseException:
        if old.exists() and not target.exists():
            old.rename(target)
        raise
    flush_folder(target.parent)
    with suppress(OSError):  # the new one is in place; the rest goes at the next start
        shutil.rmtree(old)


def _lock_of(target: Path) -> Path:
    return target.parent / f".{target.name}.lock"


def _half_written(target: Path) -> list[Path]:
    return list(target.parent.glob(f".{glob.escape(target.name)}.new-*"))
