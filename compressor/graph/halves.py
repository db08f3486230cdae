"""A model that keeps two texts apart below, as two graphs: `lower` reads one text, `upper` what it made of both.

DeFormer (Cao et al. 2020): what the lower layers make of a passage depends on nothing else, so that it can be computed
in advance and kept. Both are cut out of the finished graph, so that they are fused and quantized as it is.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from pathlib import Path
from typing import NamedTuple

import onnx
from onnx import TensorProto, helper

from compressor.errors import PassError
from compressor.graph import metadata
from compressor.graph.adaptive.expand import LAYER
from compressor.graph.builder import Builder, opset_of
from compressor.graph.files import load, save
from compressor.graph.order import sort_nodes, used_names

LOWER, UPPER = "lower.onnx", "upper.onnx"
STATES, MASK = "states", "attention_mask"
_TOKENS = ("batch_size", "sequence_length")


class Halves(NamedTuple):
    """The two files."""

    lower: Path
    upper: Path


def cut(source: Path, folder: Path, *, layers: int, width: int) -> Halves:
    """Write both halves of a graph that keeps two texts apart in so many layers into a folder; `width`: hidden size.

    `lower.onnx`: the graph's own inputs, of one text -> `states` float32 [batch_size, sequence_length, hidden]. A first
    text is given with its separator; a second one with the separator before it, whose state is then left out.
    `upper.onnx`: `states` and `attention_mask` of both texts, one behind the other -> the task's outputs.

    Raises:
        PassError: The graph has not these layers, or is one that can stop early.
    """
    model = load(source)
    sort_nodes(model.graph)
    border = _border(model.graph, layers, source)
    halves = Halves(folder / LOWER, folder / UPPER)
    save(_lower(model, border, width), halves.lower)
    save(_upper(model, border, width), halves.upper)
    return halves


def _border(graph: onnx.GraphProto, layers: int, source: Path) -> str:
    """The value through which everything passes that the layers below hand on, as late as there is only one."""
    places = {node.name: place for place, node in enumerate(graph.node)}
    ends = [places.get(LAYER.format(layer)) for layer in (layers - 1, layers)]
    if ends[0] is None or ends[1] is None:
        raise PassError(f"{source} cannot be cut behind layer {layers}: its attention is not where it was exported.")
    last_read: dict[str, int] = {value.name: len(graph.node) for value in graph.output}
    for place, node in enumerate(graph.node):
        last_read |= dict.fromkeys(used_names(node), place)
    waiting: set[str] = set()  # what the layers below have made and somebody still reads
    border = ""
    for place, node in enumerate(graph.node[: ends[1]]):
        if place == ends[0] or not waiting.isdisjoint(used_names(node)):
            waiting.update(node.output)
        waiting = {name for name in waiting if last_read.get(name, -1) > place}
        if len(waiting) == 1:
            (border,) = waiting
    return border


def _lower(model: onnx.ModelProto, border: str, width: int) -> onnx.ModelProto:
    end = Builder("halves", opset_of(model))
    batch = end.slice(end.op("Shape", MASK), end.ints(0), end.ints(1), 0)
    states = end.op("Cast", border, to=TensorProto.FLOAT)
    end.give(end.op("Reshape", states, end.op("Concat", batch, end.ints(-1, width), axis=0)), STATES)
    nodes = [*_needed(model.graph, {border, MASK}), *end.nodes]
    outputs = [helper.make_tensor_value_info(STATES, TensorProto.FLOAT, [*_TOKENS, width])]
    return _part(model, "lower", nodes, end.constants.values(), [], outputs)


def _upper(model: onnx.ModelProto, border: str, width: int) -> onnx.ModelProto:
    start = Builder("halves", opset_of(model))
    rows = start.op("Reshape", STATES, start.ints(-1, width))
    start.nodes.append(helper.make_node("Cast", [rows], [border], name="halves/border", to=_kind(model.graph, border)))
    needed = _needed(model.graph, {value.name for value in model.graph.output}, given=border)
    states = helper.make_tensor_value_info(STATES, TensorProto.FLOAT, [*_TOKENS, width])
    return _part(model, "upper", [*start.nodes, *needed], start.constants.values(), [states], model.graph.output)


def _needed(graph: onnx.GraphProto, wanted: Collection[str], given: str = "") -> list[onnx.NodeProto]:
    """The nodes of a sorted graph that make the wanted values; `given` is made elsewhere."""
    names, nodes = set(wanted), []
    for node in reversed(graph.node):
        if not names.isdisjoint(node.output) and given not in node.output:
            nodes.append(node)
            names.update(used_names(node))
    return nodes[::-1]


def _part(
    model: onnx.ModelProto,
    name: str,
    nodes: list[onnx.NodeProto],
    constants: Iterable[onnx.TensorProto],
    inputs: list[onnx.ValueInfoProto],
    outputs: Iterable[onnx.ValueInfoProto],
) -> onnx.ModelProto:
    """A model of these nodes with what they read of the whole one's inputs and weights."""
    read = {value for node in nodes for value in used_names(node)}
    weights = {tensor.name: tensor for tensor in [*constants, *model.graph.initializer] if tensor.name in read}
    inputs = [*inputs, *(value for value in model.graph.input if value.name in read and value.name not in weights)]
    graph = helper.make_graph(nodes, name, inputs, list(outputs), list(weights.values()))
    part = helper.make_model(graph, opset_imports=model.opset_import, ir_version=model.ir_version)
    part.producer_name = model.producer_name
    metadata.set_on(part, {**metadata.of_model(model), "part": name})
    return part


def _kind(graph: onnx.GraphProto, border: str) -> int:
    """The element type of the border, float16 or float32 in a float16 graph: that of the norm's own weights."""
    weights = {tensor.name: tensor for tensor in graph.initializer}
    makers = {output: node for node in graph.node for output in node.output}
    node = makers[border]
    while node.op_type != "Cast":
        found = next((weights[name] for name in node.input if name in weights and len(weights[name].dims) == 1), None)
        if found is not None and found.data_type in (TensorProto.FLOAT, TensorProto.FLOAT16):
            return int(found.data_type)
        node = makers[next(name for name in node.input if name in makers)]
    return int(next(entry.i for entry in node.attribute if entry.name == "to"))
