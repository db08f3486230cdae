"""Files and folders that are there whole or not at all, also for other processes and after a power cut.

And what to say when the disk refuses.
"""

from __future__ import annotations

import errno
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from compressor.errors import StorageError

_FULL = (errno.ENOSPC, errno.EDQUOT)
_REFUSED = (errno.EACCES, errno.EPERM, errno.EROFS, errno.EIO)


def write_text(file: Path, text: str) -> None:
    """Put a text in place of whatever `file` holds, through a sibling that no other process writes.

    Makes the folder if need be. Raises `OSError` when the disk refuses; the file is then what it was.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    temporary = file.with_name(f"{file.name}.{uuid.uuid4().hex[:8]}.new")
    try:
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(file)
    finally:
        temporary.unlink(missing_ok=True)


def flush(folder: Path) -> None:
    """Wait until every file under `folder` is on the disk, before the folder gets its name. Raises `OSError`."""
    for path in folder.rglob("*"):
        if path.is_dir():
            flush_folder(path)
        elif path.is_file():
            _sync(path)
    flush_folder(folder)


def flush_folder(folder: Path) -> None:
    """Wait until the names in `folder` are on the disk, where the file system can do that."""
    with suppress(OSError):
        _sync(folder)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def storage_errors(place: Path) -> Iterator[None]:
    """Turns "no space left" from any library, and a disk that cannot be written, into one clear `StorageError`."""
    try:
        yield
    except StorageError:
        raise
    except Exception as error:
        if is_full(error):
            raise full(place) from error
        if isinstance(error, OSError) and error.errno in _REFUSED:
            raise StorageError(f"{error.filename or place}: {error.strerror}.") from error
        raise


def is_full(error: BaseException | None) -> bool:
    """Whether an error, or one behind it, says that no space is left."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in _FULL:
            return True
        if "no space left on device" in str(error).lower():
            return True
        error = error.__cause__ or error.__context__
    return False


def full(place: Path) -> StorageError:
    """What to say when the disk is full."""
    return StorageError(
        f"no space left while writing to {place}: free some, for example by `python -m compressor cache clean`."
    )
