"""Put a finished folder in place of another: whole, or not at all.

A directory cannot be renamed over a full one, so the old one is moved aside first (`.<name>.old`). A swap that was
cut short between the two renames is mended at the next start: the old folder is put back.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from compressor.errors import StorageError


def old_of(target: Path) -> Path:
    """Where the folder that is being replaced waits."""
    return target.parent / f".{target.name}.old"


def mend(target: Path) -> None:
    """Undo a swap that was cut short, and remove what ended processes left half-written beside `target`."""
    try:
        old = old_of(target)
        if old.exists():
            if target.exists():
                shutil.rmtree(old)
            else:
                old.rename(target)
        for left in target.parent.glob(f".{_glob_safe(target.name)}.new-*"):
            if not _alive(left.name.rpartition("-")[2]):
                shutil.rmtree(left, ignore_errors=True)
    except OSError as error:
        raise StorageError(f"{target}: an interrupted write could not be mended: {error}.") from error


@contextmanager
def building(target: Path) -> Iterator[Path]:
    """An empty sibling of `target` to write into; it takes the target's place at the end, or leaves nothing behind.

    Raises `StorageError` when the disk refuses (it may be full).
    """
    mend(target)
    new = target.parent / f".{target.name}.new-{os.getpid()}"
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir()
        yield new
        _flush(new)
        _swap(new, target)
    except OSError as error:
        reason = error.strerror or str(error)
        raise StorageError(f"cannot write {target}: {reason}. What was there before is unchanged.") from error
    finally:
        shutil.rmtree(new, ignore_errors=True)


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
    _flush_folder(target.parent)
    with contextlib.suppress(OSError):  # the new one is in place; the rest goes at the next start
        shutil.rmtree(old)


def _flush(folder: Path) -> None:
    """Make sure that every file is on the disk before the folder gets its name."""
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb+") as file:
                os.fsync(file.fileno())
    _flush_folder(folder)


def _flush_folder(folder: Path) -> None:
    with contextlib.suppress(OSError):  # some file systems cannot flush a folder
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _alive(process: str) -> bool:
    if not process.isdigit():
        return False
    try:
        os.kill(int(process), 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True


def _glob_safe(name: str) -> str:
    return "".join(f"[{letter}]" if letter in "*?[" else letter for letter in name)
