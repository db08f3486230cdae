"""What an ONNX file answers to held-out rows: run in a fresh process, on this machine or another place."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from compressor.config.device import DeviceProfile
from compressor.devices import child
from compressor.devices.child import LocalPlace
from compressor.devices.place import Place
from compressor.tasks.base import Feature


def run_features(
    model_path: Path,
    profile: DeviceProfile,
    features: Sequence[Feature],
    keep: Sequence[float] | None = None,
    *,
    batch_size: int = 16,
    pad_id: int = 0,
    token_outputs: Sequence[str] | None = None,
    timeout_s: float | None = None,
    on_rows: Callable[[int], None] | None = None,
    place: Place | None = None,
) -> list[dict[str, np.ndarray]]:
    """The file's outputs for every feature, in their order: one mapping of unpadded float32 rows each.

    `token_outputs` names the outputs [batch, length, ...]; None: told from the graph's axis names.
    Rows are batched by length. `place`: None is this machine, whatever the profile names, since outputs depend on
    nothing else of a device. Raises `DeviceError` when the file does not run.
    """
    if not features:
        return []
    where = place or LocalPlace(profile)
    request = {
        "mode": "outputs",
        "model": str(Path(model_path).resolve()),
        "inputs": "inputs.npz",
        "outputs": "outputs.npz",
        "keep": None if keep is None else [float(value) for value in keep],
        "batch_size": batch_size,
        "pad": {"input_ids": pad_id},
        "token_outputs": None if token_outputs is None else list(token_outputs),
        **where.placement(),
    }
    with child.work_folder() as folder:
        child.write_arrays(folder / "inputs.npz", _flat(features))
        limit = timeout_s if timeout_s is not None else 120.0 + 5.0 * len(features)
        where.run_probe(request, folder, timeout_s=limit, on_rows=on_rows)
        with np.load(folder / "outputs.npz", allow_pickle=False) as archive:
            columns = {
                name.removeprefix("value/"): _rows(archive[name], archive["shape/" + name.removeprefix("value/")])
                for name in archive.files
                if name.startswith("value/")
            }
    return [{name: values[row] for name, values in columns.items()} for row in range(len(features))]


def _flat(features: Sequence[Feature]) -> dict[str, np.ndarray]:
    arrays = {"lengths": np.asarray([feature.length for feature in features], dtype=np.int64)}
    for name in features[0].inputs:
        arrays[name] = np.concatenate([np.asarray(feature.inputs[name], dtype=np.int64) for feature in features])
    return arrays


def _rows(flat: np.ndarray, shapes: np.ndarray) -> list[np.ndarray]:
    sizes = shapes.prod(axis=1) if shapes.ndim > 1 and shapes.shape[1] else np.ones(len(shapes), dtype=np.int64)
    parts = np.split(flat, np.cumsum(sizes)[:-1])
    return [part.reshape(tuple(shape)) for part, shape in zip(parts, shapes, strict=True)]
