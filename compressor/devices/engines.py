"""Options of a provider on this machine, and where TensorRT keeps the engines that it builds here."""

from __future__ import annotations

import atexit
import functools
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from compressor.devices.board import content_key

TENSORRT = "TensorrtExecutionProvider"
_CACHED, _FOLDER = "trt_engine_cache_enable", "trt_engine_cache_path"
_ON = ("true", "1")


def local_options(name: str, options: Mapping[str, Any], model: Path, inside: Callable[[Path], str]) -> dict[str, Any]:
    """Options as the probe gets them, which runs in another folder than this process: paths are absolute.

    TensorRT names its engines by the model file's name, not by what is in it. Where the profile names no folder for
    them, a model's content has one of its own: its rounds build the engine once, and no other model ever gets it.
    """
    found = {key: _absolute(key, value) for key, value in options.items()}
    if name == TENSORRT and str(options.get(_CACHED)).lower() in _ON and not options.get(_FOLDER):
        folder = Path(_engines().name) / content_key(model)[:16]
        folder.mkdir(exist_ok=True)
        found[_FOLDER] = inside(folder)
    return found


def _absolute(key: str, value: Any) -> Any:
    """A path from the folder in which this process was started."""
    return str(Path(value).absolute()) if key.endswith("_path") and value else value


@functools.cache
def _engines() -> tempfile.TemporaryDirectory[str]:
    """A folder that is there as long as this process is."""
    folder = tempfile.TemporaryDirectory(prefix="compressor-engines-")
    atexit.register(folder.cleanup)
    return folder
