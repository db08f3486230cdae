"""Reads text files, plain or gzip, and says exactly what is wrong with those that cannot be read."""

from __future__ import annotations

import difflib
import gzip
import zlib
from pathlib import Path

from compressor.errors import DataError


def read_text(path: Path) -> str:
    """The text of a UTF-8 file; a name that ends in .gz is unpacked.

    Raises `DataError` if it is missing, empty, cut short, damaged or not UTF-8 (with the line).
    """
    data = _read_bytes(path)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        kind = "UTF-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "in another encoding"
        raise DataError(
            f"{path}, line {line}: byte 0x{data[error.start]:02x} is not UTF-8; the file is probably {kind}: "
            "save it as UTF-8."
        ) from error
    if not text.strip():
        raise DataError(f"{path} is empty: there is nothing to read in it.")
    return text


def require_readable(path: Path) -> None:
    """Raises `DataError` for a file that is missing or may not be read; reads nothing."""
    try:
        path.open("rb").close()
    except FileNotFoundError as error:
        raise DataError(f"{path} does not exist{_nearest(path)}") from error
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}.") from error


def _read_bytes(path: Path) -> bytes:
    require_readable(path)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}.") from error
    if path.suffix != ".gz":
        return data
    if not data:
        raise DataError(f"{path} is empty: there is nothing to read in it.")
    try:
        return gzip.decompress(data)
    except EOFError as error:
        raise DataError(f"{path} is cut short: its gzip stream has no end; copy or download it again.") from error
    except (gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"{path} is not a sound gzip file ({error}): copy or download it again.") from error


def _nearest(path: Path) -> str:
    try:
        names = [entry.name for entry in path.parent.iterdir()]
    except OSError:
        return f" (nor does the folder {path.parent})."
    close = difflib.get_close_matches(path.name, names, n=1)
    return f"; did you mean '{close[0]}'?" if close else "."
