"""Reading and writing ONNX files: clear errors, and a write that is whole or does not happen."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError

from compressor.errors import PassError, StorageError


def load(path: Path, *, weights: bool = True) -> onnx.ModelProto:
    """Read a graph; `weights=False` leaves weights in files beside it unread.

    Raises:
        PassError: The file is missing or is not an ONNX graph.
    """
    try:
        return onnx.load(str(path), load_external_data=weights)
    except FileNotFoundError as error:
        raise PassError(f"there is no ONNX graph at {path}.") from error
    except (DecodeError, onnx.checker.ValidationError) as error:
        raise PassError(f"{path} is not an ONNX graph, or is damaged: export it again.") from error


def save(model: onnx.ModelProto, path: Path) -> None:
    """Write a graph to a temporary sibling and swap it in.

    Raises:
        StorageError: The disk refuses (it may be full).
    """
    temporary: str | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(handle, "wb") as file:
            file.write(model.SerializeToString())
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except OSError as error:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)
        raise StorageError(f"cannot write {path}: {error}. Is the disk full?") from error
