"""Two forms of an adaptive-depth graph: flat, in which every layer runs, and nested, where those after a halt do not.

Both give the same outputs. Passes that look for patterns or weights work on the flat form, where nothing hides in a
branch; what is measured and deployed is the nested form, an `If` in an `If` for every layer but the first.

The flat form marks each border between layers by Identity nodes of fixed names (`mark`); what nothing else reads of
them is an output of the graph, so that no tool takes it for dead. A node belongs to the latest layer that it depends
on; what only later layers read is computed there too.
"""

from __future__ import annotations

from collections.abc import Iterable

import onnx
from onnx import TensorProto, helper

from compressor.errors import ExportError
from compressor.graph.builder import Builder
from compressor.graph.order import sort_nodes, used_names

EXIT_ANSWERS = "/exits.*/out/*"
"""Names of the products that give the exits' answers: so few multiplications that int8 makes them slower."""
_NAME = "depth/{}/{}"
_END = "depth/end/{}"
_CARRIED = ("answer", "blocks")
"""What is known when the run stops: the answer so far [batch, classes], the layers each row needed [batch, 1]."""
_BODY = "depth.{}"
_MARKED = {
    "going": (TensorProto.BOOL, ()),
    "answer": (TensorProto.FLOAT, (None, None)),
    "blocks": (TensorProto.INT64, (None, None)),
}
"""Element type and shape of what is marked behind a layer, beside the hidden states; a float16 graph keeps them so."""


def mark(builder: Builder, layer: int, hidden: str, going: str, answer: str, blocks: str, output: str) -> None:
    """Mark the border behind a layer in the flat form.

    Args:
        builder: Where nodes go.
        layer: Its number, from 0.
        hidden: What it hands on to the next layer, known there as `output`.
        going: Whether any row goes on, a bool scalar.
        answer: The answer so far.
        blocks: int64 [batch, 1], the layers that each row has needed so far.
        output: See `hidden`.
    """
    values = {"going": going, "answer": answer, "blocks": blocks}
    for part, value in values.items():
        name = _NAME.format(layer, part)
        builder.nodes.append(helper.make_node("Identity", [value], [name], name=name))
    builder.nodes.append(helper.make_node("Identity", [hidden], [output], name=_NAME.format(layer, "hidden")))


def mark_end(builder: Builder, answer: str, blocks: str, outputs: tuple[str, str]) -> None:
    """Mark the answer and the count of layers as they are when the run ends; known as `outputs` from there on."""
    for part, value, output in zip(_CARRIED, (answer, blocks), outputs, strict=True):
        builder.nodes.append(helper.make_node("Identity", [value], [output], name=_END.format(part)))


def deciding(model: onnx.ModelProto) -> tuple[set[str], set[str]]:
    """Names of the marks of a flat graph: those of answers, and those that say whether the run goes on."""
    names = {node.name for node in model.graph.node}
    layers = [layer for layer in range(len(names)) if _NAME.format(layer, "going") in names]
    answers = {_NAME.format(layer, "answer") for layer in layers} | {_END.format("answer")}
    return answers & names, {_NAME.format(layer, "going") for layer in layers}


def nest(model: onnx.ModelProto) -> None:
    """From the flat form to the nested one, in place; a graph without marks stays as it is.

    Raises:
        ExportError: A value of a later layer is needed where that layer may not have run.
    """
    graph = model.graph
    if not _is_flat(graph):
        return
    sort_nodes(graph)
    by_name = {node.name: node for node in graph.node}
    layers = sum(_NAME.format(layer, "hidden") in by_name for layer in range(len(by_name)))
    if not layers:  # nothing to stop after
        return
    ends = [by_name[_END.format(part)] for part in _CARRIED]
    groups: list[list[onnx.NodeProto]] = [[] for _ in range(layers + 2)]
    marks = {_NAME.format(layer, part) for layer in range(layers) for part in _MARKED}
    marks |= {node.name for node in ends}
    for node, level in zip(graph.node, _levels(graph, layers), strict=True):
        if node.name not in marks:
            groups[level].append(node)
    inner, results = _own([node.input[0] for node in ends], groups[layers])
    for layer in reversed(range(layers)):
        marked = {part: by_name[_NAME.format(layer, part)].input[0] for part in _MARKED}
        name = _BODY.format(layer)
        halted = [f"{name}/halted/{part}" for part in _CARRIED]
        stay = [
            helper.make_node("Identity", [marked[part]], [output], name=output)
            for part, output in zip(_CARRIED, halted, strict=True)
        ]
        then = _body(f"{name}/on", inner, results)
        other = _body(f"{name}/halted", stay, halted)
        results = [f"{name}/{part}" for part in _CARRIED]
        choice = helper.make_node("If", [marked["going"]], results, name=name, then_branch=then, else_branch=other)
        inner = [*groups[layer], choice]
    inner[-1].output[:] = [node.output[0] for node in ends]
    _put(graph, [*inner, *groups[layers + 1]])
    _expose(graph, 0)
    _take_weights_in(graph)


def unnest(model: onnx.ModelProto) -> None:
    """From the nested form back to the flat one, in place; another graph stays as it is."""
    graph = model.graph
    if not _is_nested(graph):
        return
    _take_weights_out(graph)
    flat = Builder("depth", 0)
    level, layer, results = list(graph.node), 0, [""] * len(_CARRIED)
    outputs = next(node.output for node in level if node.name == _BODY.format(0))
    while True:
        choice = next((node for node in level if node.name == _BODY.format(layer)), None)
        flat.nodes += [node for node in level if node is not choice]
        if choice is None:
            break
        bodies = {entry.name: entry.g for entry in choice.attribute}
        halted = [node.input[0] for node in bodies["else_branch"].node]
        for part, value in zip(_MARKED, [choice.input[0], *halted], strict=True):
            name = _NAME.format(layer, part)
            flat.nodes.append(helper.make_node("Identity", [value], [name], name=name))
        body = bodies["then_branch"]
        level, layer, results = list(body.node), layer + 1, [value.name for value in body.output]
    mark_end(flat, results[0], results[1], (outputs[0], outputs[1]))
    _put(graph, flat.nodes)
    _expose(graph, layer)
    sort_nodes(graph)


def _is_flat(graph: onnx.GraphProto) -> bool:
    return any(node.name == _END.format(_CARRIED[0]) for node in graph.node)


def _is_nested(graph: onnx.GraphProto) -> bool:
    return any(node.name == _BODY.format(0) for node in graph.node)


def _levels(graph: onnx.GraphProto, layers: int) -> list[int]:
    """For each node the layer in whose body it stands; layers + 1: after the run has ended."""
    after = layers + 1
    fixed = {_NAME.format(layer, part): layer for layer in range(layers) for part in _MARKED}
    fixed |= {_NAME.format(layer, "hidden"): layer + 1 for layer in range(layers)}
    fixed |= {_END.format(part): after for part in _CARRIED}
    made: dict[str, int] = {}
    levels = []
    for node in graph.node:
        level = max((made.get(name, 0) for name in used_names(node)), default=0)
        if level > fixed.get(node.name, after):
            raise ExportError(f"node '{node.name}' reads what later layers make.")
        levels.append(fixed.get(node.name, level))
        made.update(dict.fromkeys(node.output, levels[-1]))
    read: dict[str, int] = {}  # the first layer that reads a value
    for place in reversed(range(len(levels))):
        node = graph.node[place]
        readers = [read[name] for name in node.output if name in read]
        if node.name not in fixed and levels[place] < after and readers:
            levels[place] = max(levels[place], min(readers))
        # what is read after the end must be known whether later layers ran or not; the marked ends carry the rest
        reader = layers if node.name in fixed and levels[place] == after else levels[place] % after
        for name in used_names(node):
            read[name] = min(read.get(name, layers), reader)
    for name, level in read.items():
        if made.get(name, 0) > level and made[name] < after:
            raise ExportError(f"'{name}' of layer {made[name]} is read where that layer may not have run.")
    return levels


def _expose(graph: onnx.GraphProto, layers: int) -> None:
    """Make the marks of so many layers outputs of the graph, and no others."""
    kept = [value for value in graph.output if not value.name.startswith("depth/")]
    for layer in range(layers):
        for part, (kind, shape) in _MARKED.items():
            kept.append(helper.make_tensor_value_info(_NAME.format(layer, part), kind, shape))
    del graph.output[:]
    graph.output.extend(kept)


def _body(name: str, nodes: Iterable[onnx.NodeProto], outputs: Iterable[str]) -> onnx.GraphProto:
    kinds = (_MARKED[part][0] for part in _CARRIED)
    values = [helper.make_tensor_value_info(output, kind, None) for output, kind in zip(outputs, kinds, strict=True)]
    return helper.make_graph(list(nodes), name, [], values)


def _levels_of(graph: onnx.GraphProto) -> list[onnx.GraphProto]:
    """A nested graph and, one in the other, the bodies in which its layers go on."""
    levels = [graph]
    while choice := next((node for node in levels[-1].node if node.name == _BODY.format(len(levels) - 1)), None):
        levels.append(next(entry.g for entry in choice.attribute if entry.name == "then_branch"))
    return levels


def _take_weights_in(graph: onnx.GraphProto) -> None:
    """Give every body the weights that nothing outside of it reads.

    ONNX Runtime packs the weights of a product for the processor only if they stand in the product's own graph: a
    whole run of six layers of 384 took 1.6 times as long with all of them in the outermost.
    """
    first: dict[str, int] = {}
    levels = _levels_of(graph)
    for level, body in reversed(list(enumerate(levels))):
        for node in body.node:
            own = node.name != _BODY.format(level)
            first |= {name: level for name in (used_names(node) if own else node.input)}
    first |= {value.name: 0 for value in graph.input}
    weights = list(graph.initializer)
    del graph.initializer[:]
    for tensor in weights:
        levels[first.get(tensor.name, 0)].initializer.append(tensor)


def _take_weights_out(graph: onnx.GraphProto) -> None:
    for body in _levels_of(graph)[1:]:
        graph.initializer.extend(body.initializer)
        del body.initializer[:]


def _own(values: list[str], nodes: list[onnx.NodeProto]) -> tuple[list[onnx.NodeProto], list[str]]:
    """Nodes of a body and the names of its results, none of which may be what an outer graph made."""
    made = {name for node in nodes for name in node.output}
    copies, names = [], []
    for value in values:
        names.append(value if value in made else f"{value}/last")
        if value not in made:
            copies.append(helper.make_node("Identity", [value], [names[-1]], name=names[-1]))
    return [*nodes, *copies], names


def _put(graph: onnx.GraphProto, nodes: list[onnx.NodeProto]) -> None:
    copies = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del graph.node[:]
    graph.node.extend(copies)
