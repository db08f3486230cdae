"""The dials of a finished graph.

`keep` for lengths, with its default and the table of known settings; and the depth dial, named by its method.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from compressor.errors import DialError
from compressor.graph import metadata
from compressor.graph.files import load, save
from compressor.graph.passes.nodes import all_nodes, graphs
from compressor.models.structure import AdaptiveDepth, DepthMethod

KEEP = "keep"
"""Name of the length dial's input, float32 [layers]."""
DEPTH_DIALS: dict[DepthMethod, str] = {"dact": "margin", "deebert": "entropy_threshold", "pabee": "patience"}
"""Name of the depth dial's input, float32 [1], by method."""
NEVER: dict[DepthMethod, float] = {"dact": -1e9, "deebert": 0.0, "pabee": 1e6}
"""The depth dial at which every layer runs."""
BLOCKS_RUN = "blocks_run"
"""Output of a graph that can stop early: the layers that each row needed, int64 [batch]."""
TRACED_SETTING = "setting"
"""Its name while a model is traced."""

Dial = Literal["optional", "required", "fixed"]
_TABLE = "dial.table"
_LAYERS = "dial.layers"
_DEPTH = "dial.depth"
_DEPTH_TABLE = "dial.depth_table"


def check(keep: Sequence[float], layers: int | None = None) -> list[float]:
    """The fractions as floats, if they are a possible setting.

    Raises:
        DialError: Not one entry a layer, an entry outside (0, 1], or one above the entry before it.
    """
    values = [float(value) for value in keep]
    if layers is not None and len(values) != layers:
        raise DialError(f"keep has {len(values)} entries, the model has {layers} layers: give one a layer.")
    for index, value in enumerate(values):
        if not 0 < value <= 1:
            raise DialError(f"keep[{index}] = {value} is outside (0, 1].")
        if index and value > values[index - 1]:
            before = f"keep[{index - 1}] = {values[index - 1]}"
            raise DialError(f"keep[{index}] = {value} is above {before}: keep cannot grow.")
    return values


def install(model: onnx.ModelProto, keep: Sequence[float], dial: Dial) -> None:
    """Make the graph's input `keep` optional with a default, required, or a constant."""
    _install(model, KEEP, check(keep), dial)
    metadata.set_on(model, {_LAYERS: str(len(keep))})


def install_depth(model: onnx.ModelProto, depth: AdaptiveDepth, dial: Dial) -> None:
    """The same for the depth dial, float32 [1], which gets the name that its method has for it.

    Where optional inputs do not work, it is a constant.
    """
    name = DEPTH_DIALS[depth.method]
    for node in all_nodes(model):
        node.input[:] = [name if value == TRACED_SETTING else value for value in node.input]
    for value in model.graph.input:
        if value.name == TRACED_SETTING:
            value.name = name
    _install(model, name, [depth.setting], depth_kind(dial))
    metadata.set_on(model, {_DEPTH: name})


def depth_kind(dial: Dial) -> Dial:
    """How a graph takes its depth dial, by how it takes its length dial: it is never required."""
    return "optional" if dial == "optional" else "fixed"


def kind(model: onnx.ModelProto) -> Dial | None:
    """How the graph takes its dial; None: it has none."""
    has_input = any(value.name == KEEP for value in model.graph.input)
    has_default = any(tensor.name == KEEP for tensor in model.graph.initializer)
    if has_input:
        return "optional" if has_default else "required"
    return "fixed" if has_default else None


def layers(path: Path) -> int | None:
    """Number of entries that `keep` has; None: the graph has no dial."""
    entry = metadata.read(path).get(_LAYERS)
    return None if entry is None else int(entry)


def default(path: Path) -> list[float] | None:
    """The default setting; None: the graph has no dial, or one without a default."""
    for tensor in load(path, weights=False).graph.initializer:
        if tensor.name == KEEP:
            return [_shortest(value) for value in numpy_helper.to_array(tensor)]
    return None


def set_default(path: Path, keep: Sequence[float]) -> None:
    """Write a new default setting into a graph with an optional or fixed dial.

    Raises:
        DialError: The graph has no dial or only a required one, or the setting is not possible.
    """
    model = load(path)
    present = kind(model)
    if present is None:
        raise DialError(f"{path} has no length dial.")
    if present == "required":
        raise DialError(f"{path} has a required dial: it takes 'keep' at every call and has no default.")
    _put_default(model, KEEP, check(keep, int(metadata.of_model(model)[_LAYERS])))
    save(model, path)


def read_table(path: Path) -> list[dict[str, Any]]:
    """The known settings (keep, MACs, metric, latency ...) that a search has written; [] if none has."""
    table: list[dict[str, Any]] = json.loads(metadata.read(path).get(_TABLE, "[]"))
    return table


def write_table(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write the known settings into the graph's metadata; each row has `keep` and plain JSON values."""
    metadata.write(path, {_TABLE: json.dumps([dict(row) for row in rows])})


def depth_name(model: onnx.ModelProto) -> str | None:
    """The depth dial's name; None: the graph has none."""
    return metadata.of_model(model).get(_DEPTH)


def depth_is_input(path: Path) -> bool:
    """Whether the graph has a depth dial that can be turned."""
    model = load(path, weights=False)
    name = depth_name(model)
    return name is not None and any(value.name == name for value in model.graph.input)


def depth_default(path: Path) -> float | None:
    """The depth dial's default; None: the graph has none."""
    model = load(path)
    name = depth_name(model)
    for graph in graphs(model.graph):
        for tensor in graph.initializer:
            if tensor.name == name:
                return _shortest(numpy_helper.to_array(tensor)[0])
    return None


def set_depth_default(path: Path, setting: float) -> None:
    """Write a new default into a graph with a depth dial, be it an input or a constant.

    Raises:
        DialError: The graph has no such dial.
    """
    model = load(path)
    name = depth_name(model)
    found = [tensor for graph in graphs(model.graph) for tensor in graph.initializer if tensor.name == name]
    if not found:
        raise DialError(f"{path} has no depth dial.")
    for tensor in found:
        tensor.CopyFrom(numpy_helper.from_array(np.asarray([setting], np.float32), name))
    save(model, path)


def free_depth(model: onnx.ModelProto) -> None:
    """Make a depth dial that is a constant an optional input, in place."""
    name = depth_name(model)
    for graph in graphs(model.graph):
        for tensor in [tensor for tensor in graph.initializer if tensor.name == name]:
            default = numpy_helper.to_array(tensor).tolist()
            graph.initializer.remove(tensor)
            _install(model, tensor.name, default, "optional")


def read_depth_table(path: Path) -> list[dict[str, float]]:
    """The known values of the depth dial (setting, metric, mean_blocks) that a search has written; [] if none has."""
    table: list[dict[str, float]] = json.loads(metadata.read(path).get(_DEPTH_TABLE, "[]"))
    return table


def write_depth_table(path: Path, rows: Sequence[Mapping[str, float]]) -> None:
    """Write the known values of the depth dial into the graph's metadata."""
    metadata.write(path, {_DEPTH_TABLE: json.dumps([dict(row) for row in rows])})


def _shortest(value: np.generic) -> float:
    """The number with the fewest digits that is this float32: 0.6, and not 0.6000000238418579."""
    return float(str(value))


def _install(model: onnx.ModelProto, name: str, default: Sequence[float], dial: Dial) -> None:
    graph = model.graph
    for value in [value for value in graph.input if value.name == name]:
        graph.input.remove(value)
    if dial != "fixed":
        graph.input.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, [len(default)]))
    if dial != "required":
        _put_default(model, name, default)


def _put_default(model: onnx.ModelProto, name: str, values: Sequence[float]) -> None:
    for tensor in [tensor for tensor in model.graph.initializer if tensor.name == name]:
        model.graph.initializer.remove(tensor)
    model.graph.initializer.append(numpy_helper.from_array(np.asarray(values, np.float32), name))
