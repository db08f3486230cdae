"""From a checkpoint to an ONNX graph: plain operators only, batch and length dynamic, the dial where there is one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import onnx
from onnx import helper

from compressor.errors import ExportError
from compressor.graph import metadata
from compressor.graph.adaptive.expand import expand
from compressor.graph.adaptive.rows import traced_in_rows
from compressor.graph.constants import drop_empty_axes, replace_lowest_numbers
from compressor.graph.dial import BLOCKS_RUN, KEEP, TRACED_SETTING, Dial, install, install_depth
from compressor.graph.files import load, save
from compressor.graph.linear import split_gemms
from compressor.graph.quantized import expand_quantized, traced_as_markers
from compressor.graph.shared_weights import name_weights_directly
from compressor.graph.stopping import nest
from compressor.graph.tracing import Axes, trace
from compressor.models import checkpoint as checkpoints
from compressor.models.families import family_of_model
from compressor.models.kinds.length_adaptive import LengthAdaptiveModel, make_whole
from compressor.stages.context import Checkpoint
from compressor.tasks.base import Task

if TYPE_CHECKING:
    from transformers import PreTrainedModel

BATCH, LENGTH = "batch_size", "sequence_length"
_TOKENS: Axes = {0: BATCH, 1: LENGTH}
_DIALS = ("optional", "required", "fixed")


def export(checkpoint: Checkpoint, task: Task, target: Path, *, opset: int, dial: str) -> None:
    """Write the graph of a checkpoint to `target`, in eval mode and float32.

    Inputs `input_ids`, `attention_mask`[, `token_type_ids`], int64 [batch_size, sequence_length][, `keep` float32
    [layers]][, the depth dial float32 [1]]; outputs by `task.output_names`[, `blocks_run`]. `opset` is a ceiling; the
    IR version is the oldest that it allows.

    Raises:
        ExportError: The exporter failed, or the operator set is too old.
        CheckpointError: The checkpoint cannot be loaded for this task.
    """
    if dial not in _DIALS:
        raise ExportError(f"dial '{dial}' is not one of {', '.join(_DIALS)}.")
    model = checkpoints.load(checkpoint.path, task)
    structure = checkpoints.structure_of(model)
    adaptive, depth = structure.length_adaptive, structure.adaptive_depth
    family = family_of_model(model)
    target.parent.mkdir(parents=True, exist_ok=True)
    names = ["input_ids", "attention_mask"]
    if family.reads_segments(getattr(model.config, "type_vocab_size", None)):
        names.append("token_type_ids")
    inputs = {name: dict(_TOKENS) for name in names}
    outputs = {name: dict(_TOKENS) if task.restores_tokens else {0: BATCH} for name in task.output_names}
    if structure.computes_as_stock:
        trace(_with_eager_attention(model), target, task=task.name, inputs=inputs, outputs=outputs, opset=opset)
        graph = load(target)
        name_weights_directly(graph.graph)
    elif structure.other_encoder:
        trace(model, target, task=task.name, inputs=inputs, outputs=outputs, opset=opset)
        graph = load(target)
        name_weights_directly(graph.graph)
    else:
        if not isinstance(model, LengthAdaptiveModel):
            make_whole(model, restore=task.restores_tokens)
        with traced_in_rows(model), traced_as_markers(model):
            axes = {**inputs, **({KEEP: {}} if adaptive else {}), **({TRACED_SETTING: {}} if depth else {})}
            outputs |= {BLOCKS_RUN: {0: BATCH}} if depth else {}
            trace(model, target, task=task.name, inputs=axes, outputs=outputs, opset=opset)
        graph = load(target)
        config = model.config.to_dict()
        name_weights_directly(graph.graph)
        expand_quantized(graph.graph)
        expand(graph, layers=family.layer_count(config), width=family.hidden_size(config))
        split_gemms(graph.graph)
        if adaptive:
            install(graph, adaptive.keep, cast(Dial, dial))
        if depth:
            install_depth(graph, depth, cast(Dial, dial))
            nest(graph)
    _finish(graph, target, outputs, {"task": task.name, "family": family.model_type})


def _finish(graph: onnx.ModelProto, target: Path, outputs: dict[str, Axes], facts: dict[str, str]) -> None:
    """Bring a traced graph into the form of all our graphs and write it: masks, names of axes, IR version, metadata."""
    replace_lowest_numbers(graph)
    drop_empty_axes(graph.graph)
    _name_axes(graph, outputs)
    graph.ir_version = helper.find_min_ir_version_for(list(graph.opset_import))
    graph.producer_name = "compressor"
    metadata.set_on(graph, facts)
    save(graph, target)


def _with_eager_attention(model: PreTrainedModel) -> PreTrainedModel:
    """The same model with attention as plain products and softmax: the form that every fusion recognises."""
    eager = cast(Any, type(model))._from_config(model.config, attn_implementation="eager")
    eager.load_state_dict(model.state_dict())
    return cast("PreTrainedModel", eager.eval())


def _name_axes(model: onnx.ModelProto, outputs: dict[str, Axes]) -> None:
    """Give the outputs' dynamic axes the inputs' names; tracing invents names of its own."""
    for value in model.graph.output:
        for axis, dimension in enumerate(value.type.tensor_type.shape.dim):
            name = outputs[value.name].get(axis)
            if name is not None:
                dimension.dim_param = name
