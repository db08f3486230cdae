"""What a graph says about itself: `metadata_props` with the prefix `compressor.`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import onnx

from compressor.graph.files import load, save

PREFIX = "compressor."


def read(path: Path) -> dict[str, str]:
    """The graph's own entries, names without the prefix; weights are not read."""
    return of_model(load(path, weights=False))


def write(path: Path, entries: Mapping[str, str]) -> None:
    """Set entries in a graph file, beside those already there; the file is replaced at once or not at all."""
    model = load(path)
    set_on(model, entries)
    save(model, path)


def of_model(model: onnx.ModelProto) -> dict[str, str]:
    """The entries of a loaded graph, names without the prefix."""
    return {
        entry.key.removeprefix(PREFIX): entry.value for entry in model.metadata_props if entry.key.startswith(PREFIX)
    }


def set_on(model: onnx.ModelProto, entries: Mapping[str, str]) -> None:
    """Set entries on a loaded graph; entries of others stay as they are."""
    merged = {entry.key: entry.value for entry in model.metadata_props}
    merged.update({PREFIX + name: value for name, value in entries.items()})
    del model.metadata_props[:]
    for key, value in merged.items():
        model.metadata_props.add(key=key, value=value)
