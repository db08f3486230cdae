"""Completing a traced length-adaptive graph: every marker becomes standard operators."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import onnx
from onnx import TensorProto, helper

from compressor.errors import ExportError
from compressor.graph import stopping
from compressor.graph.adaptive.attention import FLOAT, INT64, Heads, attend, choose, choose_by_first, split_heads
from compressor.graph.adaptive.markers import ATTEND, DOMAIN, END, FIRST, GATE, MEAN, PLAN, RESTORE
from compressor.graph.adaptive.plan import NAME as DIAL
from compressor.graph.adaptive.plan import Plan, WholePlan, build_plan, build_whole_plan
from compressor.graph.builder import Builder, opset_of
from compressor.graph.dial import KEEP

LAYER = "attention.{}"
"""Name of the `If` of one layer's attention; its bodies that keep all are called `.../full` and `.../masked`."""
KEPT = "kept"
"""The part of a body that drops where only rows that stay attend; its bodies are `.../full` and `.../masked` too."""
_TYPES = (FLOAT, FLOAT, FLOAT, INT64, FLOAT, INT64)


def expand(model: onnx.ModelProto, *, layers: int, width: int) -> None:
    """Replace the markers of a graph, in place; `width` is the hidden size.

    A graph without the input `keep` never drops a token.

    Raises:
        ExportError: The graph has not one marker a layer.
    """
    graph = model.graph
    opset = opset_of(model)
    found = sum(node.op_type == ATTEND and node.domain == DOMAIN for node in graph.node)
    if found != layers:
        raise ExportError(f"the traced graph has {found} attention markers, the model has {layers} layers.")
    constants: dict[str, onnx.TensorProto] = {}
    plan: Plan | WholePlan | None = None
    whole = not any(value.name == KEEP for value in graph.input)
    nodes: list[onnx.NodeProto] = []
    shares: dict[str, tuple[str, str]] = {}  # by mask: see _mean_shares
    starts: dict[int, str] = {}  # by layer: where the texts begin behind it
    for node in graph.node:
        if node.domain != DOMAIN:
            nodes.append(node)
            continue
        attributes = {entry.name: helper.get_attribute_value(entry) for entry in node.attribute}
        if node.op_type == PLAN:
            builder = Builder(DIAL, opset, constants)
            plan = _whole_plan(builder, node) if whole else _plan(builder, node, attributes, layers)
        elif plan is None:
            raise ExportError(f"the traced graph uses {node.op_type} before it has a plan.")
        elif node.op_type == ATTEND:
            builder = Builder(LAYER.format(attributes["layer"]), opset, constants)
            if isinstance(plan, WholePlan):
                _attend_whole(builder, node, attributes, plan)
            else:
                _attend(builder, node, attributes, plan)
        elif node.op_type == RESTORE:
            builder = Builder("restore", opset, constants)
            _restore(builder, node, plan, width)
        elif node.op_type == FIRST:
            layer = attributes["layer"]
            builder = Builder(f"first.{layer}", opset, constants)
            if layer not in starts:
                starts[layer] = plan.starts(builder, layer)
            nodes += builder.nodes
            nodes.append(
                helper.make_node("Gather", [node.input[0], starts[layer]], [node.output[0]], node.name, axis=0)
            )
            continue
        elif node.op_type == MEAN:
            hidden, real = node.input
            real = plan.real if isinstance(plan, WholePlan) else real
            if real not in shares:
                builder = Builder(f"mean.{len(shares)}", opset, constants)
                shares[real] = _mean_shares(builder, real, plan.batch, width)
                nodes += builder.nodes
            builder = Builder(f"mean/{node.output[0]}", opset, constants)
            share, shape = shares[real]
            mean = builder.op("MatMul", share, builder.op("Reshape", hidden, shape))
            builder.give(builder.op("Reshape", mean, builder.ints(-1, width)), node.output[0])
        elif node.op_type == GATE:
            builder = Builder("depth", opset, constants)
            hidden, going, answer, blocks = node.input
            stopping.mark(builder, attributes["layer"], hidden, going, answer, blocks, node.output[0])
        elif node.op_type == END:
            builder = Builder("depth", opset, constants)
            stopping.mark_end(builder, node.input[0], node.input[1], (node.output[0], node.output[1]))
        else:
            raise ExportError(f"the traced graph has an unknown marker {node.op_type}.")
        nodes += builder.nodes
    del graph.node[:]
    graph.node.extend(nodes)
    graph.initializer.extend(constants.values())
    for entry in [entry for entry in model.opset_import if entry.domain == DOMAIN]:
        model.opset_import.remove(entry)


def _mean_shares(b: Builder, real: str, batch: str, width: int) -> tuple[str, str]:
    """What each token counts in its text's mean, [batch, 1, tokens], and the shape [batch, tokens, width] of states."""
    count = b.op("Max", b.sum(real, 1, keepdims=True), b.float(1.0))
    share = b.op("Unsqueeze", b.op("Div", real, count), b.ints(1))
    return share, b.op("Concat", batch, b.ints(-1, width), axis=0)


def _plan(b: Builder, node: onnx.NodeProto, attributes: dict[str, Any], layers: int) -> Plan:
    mask, keep = node.input
    protect = bool(attributes["protect"])
    plan = build_plan(b, mask, keep, layers=layers, minimum=attributes["minimum"], protect=protect)
    b.give(plan.real, node.output[0])
    b.give(plan.rows, node.output[1])
    return plan


def _whole_plan(b: Builder, node: onnx.NodeProto) -> WholePlan:
    plan = build_whole_plan(b, node.input[0])
    b.give(plan.real, node.output[0])
    return plan


def _heads(b: Builder, rows: tuple[str, str, str], real: str, batch: str, count: int, width: int) -> Heads:
    """Query, key and value as rows [batch·length, width], split into heads."""
    size = width // count
    query, key, value = (split_heads(b, batch, part, count, size) for part in rows)
    return Heads(query, key, value, real, batch, count, size)


def _attend_whole(b: Builder, node: onnx.NodeProto, attributes: dict[str, Any], plan: WholePlan) -> None:
    """With a mask or without one; nothing leaves. Bodies have the names that they have where tokens can be dropped."""
    query, key, value, hidden, real, _, unseen = node.input
    heads = _heads(b, (query, key, value), real, plan.batch, attributes["heads"], attributes["width"])
    heads = replace(heads, unseen=unseen if attributes["limited"] else "")
    full, masked = b.body("full"), b.body("other").body("masked")
    bodies = [(body, [attend(body, heads, masked=body is masked)]) for body in (masked, full)]
    context = b.branch(plan.padded, [FLOAT], *bodies)[0]
    b.nodes[-1].name = b.prefix
    b.op("Reshape", context, b.ints(-1, attributes["width"]))
    b.nodes[-1].output[0] = node.output[0]
    for source, name in ((hidden, node.output[1]), (real, node.output[2])):
        if name:
            b.give(source, name)


def _attend(b: Builder, node: onnx.NodeProto, attributes: dict[str, Any], plan: Plan) -> None:
    """Keep all, without a mask; or with a mask; or choose and drop: an `If` in an `If`."""
    query, key, value, hidden, real, origin, _ = node.input
    layer = attributes["layer"]
    protect = bool(attributes["protect"])
    simple, drops, padded, length, kept_count = (
        b.op("Gather", values, b.ints(layer))
        for values in (plan.simple, plan.drops, plan.padded, plan.lengths, plan.counts)
    )
    heads = _heads(b, (query, key, value), real, plan.batch, attributes["heads"], attributes["width"])

    full, other = b.body("full"), b.body("other")
    masked, drop = other.body("masked"), other.body("drop")
    all_kept = [_all_kept(body, heads, body is masked, hidden, real, origin) for body in (full, masked)]

    starts = drop.op("Mul", plan.texts, length)
    if attributes["first"]:
        order = choose_by_first(drop, heads, query, key, starts, length, protect=protect)
    else:
        chosen = choose(drop, heads, padded, length, protect=protect)
        order = chosen.order
    kept = drop.slice(order, drop.ints(0), kept_count, 1)
    leaving = drop.slice(order, kept_count, length, 1)
    stay, leave = (drop.op("Reshape", drop.op("Add", places, starts), drop.ints(-1)) for places in (kept, leaving))
    attended = query if attributes["first"] else chosen.context
    staying = drop.op("Gather", attended, stay, axis=0)
    dropped = [
        _of_kept(drop, heads, staying, padded) if attributes["first"] else staying,
        drop.op("Gather", hidden, stay, axis=0),
        drop.op("GatherElements", real, kept, axis=1),
        drop.op("Gather", origin, stay, axis=0),
        drop.op("Gather", hidden, leave, axis=0),
        drop.op("Gather", origin, leave, axis=0),
    ]

    used = [index for index, name in enumerate(node.output) if name]
    types = [_TYPES[index] for index in used]
    result = other.branch(drops, types, (drop, [dropped[i] for i in used]), (masked, [all_kept[1][i] for i in used]))
    context, *others = b.branch(simple, types, (full, [all_kept[0][i] for i in used]), (other, result))
    choice = b.nodes[-1]
    choice.name = b.prefix
    choice.output[1:] = [node.output[index] for index in used[1:]]
    b.op("Reshape", context, b.ints(-1, attributes["width"]))
    b.nodes[-1].output[0] = node.output[0]


def _all_kept(b: Builder, heads: Heads, masked: bool, hidden: str, real: str, origin: str) -> list[str]:
    """Context and everything else as it is; nothing leaves."""
    nothing = b.ints(0), b.ints(0)
    context = attend(b, heads, masked=masked)
    return [context, hidden, real, origin, b.slice(hidden, *nothing, 0), b.slice(origin, *nothing, 0)]


def _of_kept(b: Builder, heads: Heads, rows: str, padded: str) -> str:
    """Attention to all tokens from the queries of those that stay, given as rows: [batch, kept, heads, size]."""
    before = b.body(KEPT)
    masked, plain = before.body("masked"), before.body("full")
    bodies = []
    for body in (masked, plain):
        query = split_heads(body, heads.batch, rows, heads.count, heads.size)
        bodies.append((body, [attend(body, replace(heads, query=query), masked=body is masked)]))
    return b.branch(padded, [FLOAT], *bodies)[0]


def _restore(b: Builder, node: onnx.NodeProto, plan: Plan | WholePlan, width: int) -> None:
    """Rows back to [batch, tokens, width]; those that left return to where they came from, by one gather."""
    _, hidden, *others = node.input
    if others and isinstance(plan, Plan):
        origins, left = others[0::2], others[1::2]
        here = b.body("back")
        states = here.op("Concat", hidden, *left, axis=0)
        where = here.op("Concat", *origins, axis=0)
        back = here.op("ScatterElements", plan.rows, where, plan.rows, axis=0)
        states = here.op("Gather", states, back, axis=0)
        same = b.body("same")
        any_drop = b.reduce("ReduceMax", b.op("Cast", plan.drops, to=TensorProto.INT32))
        any_drop = b.op("Cast", any_drop, to=TensorProto.BOOL)
        hidden = b.branch(any_drop, [FLOAT], (here, [states]), (same, [hidden]))[0]
    b.op("Reshape", hidden, b.op("Concat", plan.batch, b.ints(-1, width), axis=0))
    b.nodes[-1].output[0] = node.output[0]
