"""The pass: one operator in the place of many, each counted against what the architecture demands."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import onnx
from onnx import helper

from compressor.config.run import TEXT_TASKS, TaskName
from compressor.config.runtime import fuse_layout, has_attention
from compressor.errors import FusionError, PassError
from compressor.graph.builder import MICROSOFT, opset_of
from compressor.graph.context import PassContext, PassResult
from compressor.graph.files import load, save
from compressor.graph.passes.fuse import adaptive, stock
from compressor.graph.passes.fuse.cleanup import prune
from compressor.graph.passes.fuse.gelu import fuse_gelu
from compressor.graph.passes.fuse.requirements import check_layout
from compressor.graph.passes.fuse.settings import FuseSettings
from compressor.models.checkpoint import read_config
from compressor.models.families import family_of
from compressor.models.structure import Structure


def run(source: Path, target: Path, settings: object, context: PassContext) -> PassResult:
    """Fuse an exported graph.

    Raises:
        FusionError: A fusion found fewer or more places than the architecture has.
        PassError: The graph is fused already.
        RequestError: A layout that the device or the graph is too old for.
    """
    config = read_config(context.checkpoint.path)
    structure = Structure.from_config(config)
    if structure.other_encoder:
        shutil.copyfile(source, target)
        return PassResult(target, {"layout": "none", "note": "no transformer layers: there is nothing to fuse"})
    model = load(source)
    if any(node.domain == MICROSOFT for node in model.graph.node):
        raise PassError(f"{source} holds fused operators already: run `fuse` once, right after the export.")
    opset = opset_of(model)
    asked = cast(FuseSettings, settings)
    check_layout(asked, context.device, opset, structure)
    layout = fuse_layout(context.device, opset) if asked.layout == "auto" else asked.layout
    new = has_attention(context.device)
    if not structure.computes_as_stock:
        found = adaptive.fuse(model, config, attention=new)
    elif layout == "rows":
        found = stock.fuse_in_rows(model, config)
    elif not new and family_of(config).model_type == "distilbert":
        found = {"gelu": fuse_gelu(model.graph)}  # ONNX Runtime's optimizer does not find its attention
    else:
        model, found = stock.fuse_with_onnxruntime(model, config)
    check_counts(found, expected(config, context.task.name, found))
    prune(model.graph)
    _declare(model)
    save(model, target)
    return PassResult(target, {"layout": layout, "fused": found})


def expected(config: Mapping[str, Any], task: TaskName, found: Mapping[str, int]) -> dict[str, int]:
    """How often each kind of fusion in `found` must have been made, by a `config.json` mapping."""
    family = family_of(config)
    layers = family.layer_count(config)
    gelu = config.get("hidden_act", config.get("activation", "gelu")) == "gelu"
    head_gelu = int(family.model_type == "electra" and task in TEXT_TASKS)
    demanded = {
        "attention": layers,
        "gelu": (layers if gelu else 0) + head_gelu,
        "skip_layer_norm": 2 * layers,
        "embedding": int(family.model_type != "roberta"),
    }
    return {kind: demanded[kind] for kind in found}


def check_counts(found: Mapping[str, int], demanded: Mapping[str, int]) -> None:
    """Raise a `FusionError` for the first fusion that was not made as often as demanded."""
    for kind, count in demanded.items():
        if found[kind] != count:
            raise FusionError(
                f"fuse: expected {count} fused '{kind}', found {found[kind]}. The graph does not look as exported: "
                "was it changed by another pass, or exported by another tool?"
            )


def _declare(model: onnx.ModelProto) -> None:
    """Import the domain of the fused operators once."""
    if not any(entry.domain == MICROSOFT for entry in model.opset_import):
        model.opset_import.append(helper.make_opsetid(MICROSOFT, 1))
