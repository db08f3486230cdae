"""Reading and writing the weights of a checkpoint, without ever running code from it."""

from __future__ import annotations

import json
import pickle
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from compressor.errors import CheckpointError, StorageError
from compressor.models import zeros

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
PICKLED = "pytorch_model.bin"

_LEGACY_ENDINGS = {".gamma": ".weight", ".beta": ".bias"}  # names of LayerNorm in checkpoints of TensorFlow times


def read_weights(folder: Path) -> dict[str, torch.Tensor]:
    """All weights of a checkpoint by name, floating point as float32.

    Raises:
        CheckpointError: No weights, a truncated or damaged file, or pickled objects other than tensors.
    """
    if (folder / WEIGHTS).is_file():
        weights = _read_safetensors(folder / WEIGHTS)
    elif (folder / INDEX).is_file():
        weights = {}
        for shard in _shards(folder / INDEX):
            weights.update(_read_safetensors(folder / shard))
    elif (folder / PICKLED).is_file():
        weights = _read_pickled(folder / PICKLED)
    else:
        raise CheckpointError(f"{folder} has no weights: expected {WEIGHTS}.")
    return {_modern_name(name): _as_float32(tensor) for name, tensor in weights.items()}


def read_shapes(folder: Path) -> dict[str, tuple[int, ...]]:
    """Shapes of all weights by name, from the headers alone where the file is safetensors; errors as `read_weights`."""
    if not (folder / WEIGHTS).is_file():
        return {name: tuple(tensor.shape) for name, tensor in read_weights(folder).items()}
    try:
        with safe_open(folder / WEIGHTS, framework="pt") as file:
            shapes = zeros.shapes_in(file.metadata())
            for name in set(file.keys()) - {part for whole in shapes for part in zeros.parts_of(whole)}:
                shapes[name] = tuple(file.get_slice(name).get_shape())
            return {_modern_name(name): shape for name, shape in shapes.items()}
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(_damaged(folder / WEIGHTS, error)) from error


def write_weights(weights: Mapping[str, torch.Tensor], folder: Path, *, sparse: bool = False) -> None:
    """Write weights as safetensors, with `sparse` without the zeros of matrices that have many (see `zeros`).

    Raises `StorageError` where the disk refuses (it may be full).
    """
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()}
    metadata = {"format": "pt"}
    if sparse:
        tensors, left_out = zeros.without_zeros(tensors)
        metadata |= left_out
    try:
        save_file(tensors, folder / WEIGHTS, metadata=metadata)
    except (SafetensorError, OSError) as error:
        raise StorageError(f"cannot write {folder / WEIGHTS}: {error}. Is the disk full?") from error


def _read_safetensors(path: Path) -> dict[str, torch.Tensor]:
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            return zeros.with_zeros(tensors, zeros.shapes_in(file.metadata()))
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(_damaged(path, error)) from error


def _read_pickled(path: Path) -> dict[str, torch.Tensor]:
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{path} holds pickled objects that could run code when read: save the model as safetensors."
        ) from error
    except (OSError, EOFError, RuntimeError, ValueError, KeyError) as error:
        raise CheckpointError(_damaged(path, error)) from error
    if not isinstance(content, dict) or not all(isinstance(value, torch.Tensor) for value in content.values()):
        raise CheckpointError(f"{path} is not a mapping of names to tensors: save the model with save_pretrained.")
    return content


def _shards(index: Path) -> list[str]:
    try:
        names = sorted({str(name) for name in json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()})
    except (OSError, ValueError, KeyError, AttributeError, TypeError, RecursionError) as error:
        raise CheckpointError(_damaged(index, error)) from error
    for name in names:
        if Path(name).name != name:
            raise CheckpointError(f"{index} names '{name}', which lies outside its folder.")
    return names


def _damaged(path: Path, error: Exception) -> str:
    reason = (str(error).splitlines() or [type(error).__name__])[0]
    return f"{path} is damaged or incomplete ({reason}): copy or download it again."


def _modern_name(name: str) -> str:
    for old, new in _LEGACY_ENDINGS.items():
        if name.endswith(old):
            return name.removesuffix(old) + new
    return name


def _as_float32(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.float() if tensor.is_floating_point() else tensor
