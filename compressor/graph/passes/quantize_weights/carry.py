"""Quantized weights into a graph: `MatMulNBits` in the place of products, wherever they stand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx
from onnx import GraphProto, NodeProto, TensorProto, helper, numpy_helper

from compressor.graph.builder import MICROSOFT
from compressor.graph.passes.nodes import WEIGHTS_ONLY, Product, all_nodes, drop_unread_weights, graphs
from compressor.graph.passes.quantize_weights.blocks import Blocks, Packed, pack, unpack

ACCURACY = {"float32": 1, "int8": 4}
"""`accuracy_level` of the operator: what activations are rounded to inside of it."""


def carry(model: onnx.ModelProto, chosen: Sequence[Product], found: Mapping[str, Blocks], activations: str) -> int:
    """Replace the chosen products, in place, branches of If included; how many bytes of weights that saves.

    Args:
        model: The float32 graph.
        chosen: Its products of the type MatMul.
        found: Their weights in blocks, by the weights' names in the graph.
        activations: A key of `ACCURACY`.
    """
    before = _bytes(model)
    wanted = {id(product.node): product for product in chosen}
    casts: list[NodeProto] = []
    inputs: dict[str, list[str]] = {}
    for graph in reversed(list(graphs(model.graph))):  # branches before the nodes that carry them
        nodes: list[NodeProto] = []
        scaled: dict[tuple[str, bytes], str] = {}
        for node in graph.node:
            product = wanted.get(id(node))
            if product is not None:
                blocks = found[product.weight]
                if product.weight not in inputs:
                    inputs[product.weight] = _store(model.graph, product.weight, blocks, casts)
                source = _scaled_input(model.graph, node, blocks, scaled, nodes)
                node.CopyFrom(_node(node, [source, *inputs[product.weight]], blocks, activations))
            nodes.append(node)
        copies = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
        del graph.node[:]
        graph.node.extend(copies)
    _put_first(model.graph, casts)
    drop_unread_weights(model)
    if not any(entry.domain == MICROSOFT for entry in model.opset_import):
        model.opset_import.append(helper.make_opsetid(MICROSOFT, 1))
    return before - _bytes(model)


def carried(model: onnx.ModelProto) -> dict[str, Blocks]:
    """The weights of every `MatMulNBits` of a graph, by the node's name, without scales of its input."""
    tensors = {tensor.name: tensor for graph in graphs(model.graph) for tensor in graph.initializer}
    casts = {node.output[0]: node.input[0] for node in all_nodes(model) if node.op_type == "Cast"}
    result = {}
    for node in all_nodes(model):
        if node.op_type == WEIGHTS_ONLY:
            names = [casts.get(name, name) for name in node.input[1:4]]
            arrays = [numpy_helper.to_array(tensors[name]) for name in names]
            settings = {entry.name: entry.i for entry in node.attribute}
            packed = Packed(arrays[0], arrays[1], arrays[2] if len(arrays) > 2 else None)
            result[node.name] = unpack(
                packed, bits=settings["bits"], size=settings["block_size"], columns=settings["K"]
            )
    return result


def _store(graph: GraphProto, weight: str, blocks: Blocks, casts: list[NodeProto]) -> list[str]:
    """Put the numbers of one weight into the main graph, where every branch sees them; their names."""
    packed = pack(blocks)
    names = [f"{weight}/int{blocks.bits}", f"{weight}/scales"]
    graph.initializer.append(numpy_helper.from_array(packed.weights, names[0]))
    if packed.scales.dtype == np.float16:  # as the quantizer keeps them; turned when the graph is loaded
        half = f"{weight}/scales/float16"
        graph.initializer.append(numpy_helper.from_array(packed.scales, half))
        casts.append(helper.make_node("Cast", [half], [names[1]], f"{names[1]}/Cast", to=TensorProto.FLOAT))
    else:
        graph.initializer.append(numpy_helper.from_array(packed.scales, names[1]))
    if packed.zero_points is not None:
        names.append(f"{weight}/zero_points")
        graph.initializer.append(numpy_helper.from_array(packed.zero_points, names[2]))
    return names


def _scaled_input(
    graph: GraphProto, node: NodeProto, blocks: Blocks, known: dict[tuple[str, bytes], str], nodes: list[NodeProto]
) -> str:
    """The input of a product, multiplied by its scales if there are any; products that share both share the Mul."""
    if blocks.input_scale is None:
        return str(node.input[0])
    key = (node.input[0], blocks.input_scale.tobytes())
    if key not in known:
        name = f"{node.name}/input_scale"
        graph.initializer.append(numpy_helper.from_array(blocks.input_scale, name))
        known[key] = f"{node.name}/scaled"
        nodes.append(helper.make_node("Mul", [node.input[0], name], [known[key]], f"{node.name}/Scale"))
    return known[key]


def _node(node: NodeProto, inputs: list[str], blocks: Blocks, activations: str) -> NodeProto:
    return helper.make_node(
        WEIGHTS_ONLY,
        inputs,
        list(node.output),
        node.name,
        domain=MICROSOFT,
        K=blocks.integers.shape[1],
        N=blocks.integers.shape[0],
        bits=blocks.bits,
        block_size=blocks.size,
        accuracy_level=ACCURACY[activations],
    )


def _put_first(graph: GraphProto, nodes: list[NodeProto]) -> None:
    copies = [*nodes, *(onnx.NodeProto.FromString(node.SerializeToString()) for node in graph.node)]
    del graph.node[:]
    graph.node.extend(copies)


def _bytes(model: onnx.ModelProto) -> int:
    return sum(len(tensor.raw_data) for graph in graphs(model.graph) for tensor in graph.initializer)
