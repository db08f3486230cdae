"""Finding a checkpoint: a local directory, or a name on the Hugging Face hub where it can be reached."""

from __future__ import annotations

import re
from pathlib import Path

from compressor.config.paths import expanded
from compressor.errors import CheckpointError

_HUB_NAME = re.compile(r"[\w.-]+(/[\w.-]+)?")
_SMALL_FILES = ["*.json", "*.txt", "*.model"]


def locate(path: str | Path) -> Path:
    """The local directory of a checkpoint; a hub name is downloaded (weights as safetensors if there are any).

    Raises:
        CheckpointError: There is no such directory, and the hub does not have it or cannot be reached.
    """
    folder = expanded(path)
    if folder.is_dir():
        return folder
    if folder.exists():
        raise CheckpointError(f"{folder} is a file: a checkpoint is a directory written by save_pretrained.")
    if isinstance(path, Path) or not _HUB_NAME.fullmatch(path):
        raise CheckpointError(f"there is no checkpoint directory {folder}.")
    return _download(path)


def hub_name(path: str | None) -> str | None:
    """The name under which `locate` asks the hub; None for the demo's teacher and for a local directory."""
    return path if path is not None and not expanded(path).exists() else None


def _download(name: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        folder = Path(snapshot_download(name, allow_patterns=[*_SMALL_FILES, "*.safetensors"]))
        if not any(folder.glob("*.safetensors")):
            folder = Path(snapshot_download(name, allow_patterns=[*_SMALL_FILES, "pytorch_model.bin"]))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise CheckpointError(
            f"'{name}' is neither a local directory nor a model that the Hugging Face hub gave us ({reason})."
        ) from error
    return folder
