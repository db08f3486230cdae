"""Fusing a stock graph: in rows for the CPU, or by ONNX Runtime's own transformer optimizer for GPUs."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import onnx
from onnx import TensorProto, helper

from compressor.errors import FusionError
from compressor.graph.adaptive.attention import FLOAT, Heads
from compressor.graph.adaptive.plan import build_whole_plan
from compressor.graph.builder import Builder, opset_of
from compressor.graph.files import save
from compressor.graph.passes.fuse.attention import Block, as_texts, find_blocks, multi_head
from compressor.graph.passes.fuse.cleanup import prune
from compressor.graph.passes.fuse.flatten import flatten
from compressor.graph.passes.fuse.gelu import fuse_gelu
from compressor.models.families import family_of

MASK = "attention_mask"


def fuse_in_rows(model: onnx.ModelProto, config: Mapping[str, Any]) -> dict[str, int]:
    """MultiHeadAttention, GELU and flat rows, in place; how many attentions and GELUs were fused.

    Raises:
        FusionError: The graph has not one attention a layer, or is not made of linear layers as expected.
    """
    family = family_of(config)
    blocks = _blocks(model, family.layer_count(config))
    head = Builder("fused", opset_of(model))
    plan = build_whole_plan(head, MASK)
    count, width = family.head_count(config), family.hidden_size(config)
    _replace(model, blocks, head, count, width, plan.real, plan.padded, plan.batch)
    flatten(model.graph, blocks, [block.context for block in blocks], head, plan.batch)
    _prepend(model, head)
    prune(model.graph)
    return {"attention": len(blocks), "gelu": fuse_gelu(model.graph)}


def fuse_with_onnxruntime(model: onnx.ModelProto, config: Mapping[str, Any]) -> tuple[onnx.ModelProto, dict[str, int]]:
    """ONNX Runtime's fusions, with the attention mask as it is and never as a length; the new graph and the counts.

    Where its pattern misses the attention of a family (DistilBERT's mask is a Where), MultiHeadAttention takes its
    place beforehand.
    """
    family = family_of(config)
    count, width = family.head_count(config), family.hidden_size(config)
    if family.model_type == "distilbert":
        blocks = _blocks(model, family.layer_count(config))
        head = Builder("fused", opset_of(model))
        real = head.op("Cast", head.op("Cast", MASK, to=TensorProto.BOOL), to=TensorProto.FLOAT)
        batch = head.op("Slice", head.op("Shape", MASK), head.ints(0), head.ints(1))
        _replace(model, blocks, head, count, width, real, "", batch)
        _prepend(model, head)
        prune(model.graph)
    optimized = _optimized(model, family.fusion_model_type, count, width)
    types = [node.op_type for node in optimized.graph.node]
    return optimized, {
        "attention": types.count("Attention") + types.count("MultiHeadAttention"),
        "gelu": types.count("BiasGelu") + types.count("Gelu"),
        "skip_layer_norm": types.count("SkipLayerNormalization"),
        "embedding": types.count("EmbedLayerNormalization"),
    }


def _blocks(model: onnx.ModelProto, layers: int) -> list[Block]:
    blocks = find_blocks(model.graph)
    if len(blocks) != layers:
        raise FusionError(
            f"fuse: expected {layers} attentions, found {len(blocks)}. The graph does not look as exported: "
            "was it changed by another pass, or exported by another tool?"
        )
    return blocks


def _replace(
    model: onnx.ModelProto,
    blocks: list[Block],
    head: Builder,
    count: int,
    width: int,
    real: str,
    padded: str,
    batch: str,
) -> None:
    """Put MultiHeadAttention in the place of each block's last node; `padded` "": always with the mask."""
    nodes = list(model.graph.node)
    for layer, block in enumerate(blocks):
        body = Builder(f"attention.{layer}", head.opset, head.constants)
        heads = as_texts(body, Heads(block.query, block.key, block.value, real, batch, count, width // count))
        if padded:
            masked, plain = body.body("masked"), body.body("full")
            results = [multi_head(masked, heads, masked=True)], [multi_head(plain, heads, masked=False)]
            chosen = body.branch(padded, [FLOAT], (masked, results[0]), (plain, results[1]))[0]
            context = body.op("Reshape", chosen, body.ints(-1, width))
        else:
            context = multi_head(body, heads, masked=True)
        index = next(i for i, node in enumerate(nodes) if block.context in node.output)
        last = helper.make_node("Identity", [context], [block.context], name=f"attention.{layer}/context")
        nodes[index : index + 1] = [*body.nodes, last]
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def _prepend(model: onnx.ModelProto, head: Builder) -> None:
    nodes = [*head.nodes, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    model.graph.initializer.extend(head.constants.values())


def _optimized(model: onnx.ModelProto, model_type: str, count: int, width: int) -> onnx.ModelProto:
    from onnxruntime.transformers import optimizer
    from onnxruntime.transformers.fusion_options import FusionOptions

    options = FusionOptions(model_type)
    options.use_raw_attention_mask(True)
    log = logging.getLogger("onnxruntime.transformers")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "exported.onnx"
            save(model, path)
            fused = optimizer.optimize_model(
                str(path),
                model_type=model_type,
                num_heads=count,
                hidden_size=width,
                optimization_options=options,
                opt_level=0,
            )
    finally:
        log.setLevel(level)
    result: onnx.ModelProto = fused.model
    result.metadata_props.extend(
        entry for entry in model.metadata_props if entry.key not in {known.key for known in result.metadata_props}
    )
    return result
