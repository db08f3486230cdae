"""GELU as one operator: x·Φ(x) by its error function, as exporters write it before operator set 20."""

from __future__ import annotations

import math

import onnx
from onnx import helper

from compressor.graph.builder import MICROSOFT
from compressor.graph.passes.fuse.links import Links


def fuse_gelu(graph: onnx.GraphProto) -> int:
    """Replace every 0.5·x·(1 + erf(x/√2)) by com.microsoft Gelu, in place; the number of GELUs, present ones too."""
    links = Links(graph)
    present: int = sum(node.op_type == "Gelu" for node in graph.node)
    replaced: dict[str, onnx.NodeProto] = {}  # output -> new node
    for erf in [node for node in graph.node if node.op_type == "Erf"]:
        source = _source(erf, links)
        output = _output(erf, source, links) if source is not None else None
        if source is not None and output is not None:
            name = f"{erf.name}/Gelu"
            replaced[output] = helper.make_node("Gelu", [source], [output], name=name, domain=MICROSOFT)
    nodes = [next((replaced[out] for out in node.output if out in replaced), node) for node in graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
    return present + len(replaced)


def _source(erf: onnx.NodeProto, links: Links) -> str | None:
    """The x of erf(x/√2)."""
    scaled = links.makers.get(erf.input[0])
    if scaled is None or scaled.op_type not in ("Div", "Mul"):
        return None
    factor = math.sqrt(2) if scaled.op_type == "Div" else math.sqrt(0.5)
    number = links.number(scaled.input[1])
    return str(scaled.input[0]) if number is not None and abs(number - factor) < 1e-3 else None


def _output(erf: onnx.NodeProto, source: str, links: Links) -> str | None:
    """The value 0.5·x·(1 + erf), its two products in either order."""
    value: str = erf.output[0]
    half = times = False
    for _ in range(4):
        users = links.users[value]
        if len(users) != 1:
            return value if half and times else None
        node = users[0]
        other = links.other_input(node, value)
        if node.op_type == "Add" and links.number(other) == 1.0:
            value = node.output[0]
        elif node.op_type == "Mul" and links.number(other) == 0.5:
            value, half = node.output[0], True
        elif node.op_type == "Mul" and other == source:
            value, times = node.output[0], True
        elif node.op_type == "Mul" and _is_half(other, source, links):
            value, half, times = node.output[0], True, True
        else:
            break
        if half and times:
            return value
    return value if half and times else None


def _is_half(name: str, source: str, links: Links) -> bool:
    """Whether a value is 0.5·x."""
    node = links.makers.get(name)
    return (
        node is not None
        and node.op_type == "Mul"
        and source in node.input
        and any(links.number(value) == 0.5 for value in node.input)
    )
