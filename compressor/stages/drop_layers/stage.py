"""The stage `drop_layers`: a smaller checkpoint made of chosen encoder layers (Sajjad et al. 2020).

It works on names and tensors alone, so that it also takes checkpoints that have no head for the task yet. Entries of
the structure that count layers (`length_adaptive.keep`) lose those of the dropped ones.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TypeVar

from torch import nn

from compressor.models import checkpoint as checkpoints
from compressor.models.families import Family, family_of, family_of_model
from compressor.models.structure import Structure
from compressor.models.weights import read_weights
from compressor.stages.context import Checkpoint, StageContext
from compressor.stages.drop_layers.importance import loss_without, most_important, turning
from compressor.stages.drop_layers.selection import kept_layers
from compressor.stages.drop_layers.settings import DropLayersSettings
from compressor.stages.drop_layers.shape import shape
from compressor.training.sample import sample_batches

T = TypeVar("T")


def run(checkpoint: Checkpoint, settings: DropLayersSettings, context: StageContext) -> Checkpoint:
    """Write the checkpoint with only the chosen layers left, numbered anew from 0.

    Raises:
        RequestError: The model cannot keep these layers.
        CheckpointError: The checkpoint is damaged, or has no head where the loss is to judge.
        TrainingError: There is no training data to measure importance on.
    """
    config = checkpoints.read_config(checkpoint.path)
    family = family_of(config)
    kept = kept_layers(settings, family.layer_count(config))
    shape(config, {}, settings)
    # Loaded in any case, so that nothing of a damaged checkpoint goes on.
    model = checkpoints.load(checkpoint.path, context.task, new_head=not _needs_head(settings))
    if settings.keep == "importance":
        kept = important_layers(model, settings, context, checkpoint, len(kept))
        settings = DropLayersSettings(keep=[*kept])
    smaller = {**shape(config, {}, settings), "dtype": "float32"}
    smaller.pop("torch_dtype", None)
    shared = Structure.from_config(config).shared_layers
    weights = renumbered(read_weights(checkpoint.path), family, kept, shared.layers if shared else None)
    checkpoints.write(smaller, weights, checkpoints.load_tokenizer(checkpoint.path), context.output)
    return Checkpoint(context.output, checkpoint.key)


def important_layers(
    model: nn.Module, settings: DropLayersSettings, context: StageContext, checkpoint: Checkpoint, count: int
) -> list[int]:
    """Indices of the `count` layers that the model would miss most."""
    tokenizer = checkpoints.load_tokenizer(checkpoint.path)
    batches = sample_batches(context, tokenizer, settings.samples, title="drop_layers")

    def judge(left: Sequence[int]) -> list[float]:
        if settings.importance == "cosine":
            return turning(model, batches, left)
        return loss_without(model, batches, context.task, left)

    layers = len(family_of_model(model).layers_of(model))
    split = checkpoints.structure_of(model).split_layers
    apart = split.layers if split else 0
    return most_important(judge, layers, count, one_by_one=settings.one_by_one, apart=apart)


def _needs_head(settings: DropLayersSettings) -> bool:
    return settings.keep == "importance" and settings.importance == "loss"


def renumbered(
    weights: Mapping[str, T], family: Family, kept: Sequence[int], owners: Sequence[int] | None = None
) -> dict[str, T]:
    """Weights by name without those of dropped layers; the layers that stay are numbered 0, 1, 2 ...

    `owners` [layers]: whose weights each layer uses, where layers share them; the first that stays is the new owner.

    So are the exits of an adaptive-depth model, one behind every layer but the last, whose head is the model's own.
    """
    layer = re.compile(rf"^((?:{re.escape(family.backbone)}\.)?{re.escape(family.layers)}\.)(\d+)(\..*)$")
    exit_ = re.compile(r"^(exits\.)(\d+)(\..*)$")
    new_exit = {old: new for new, old in enumerate(kept)}
    new_layer: dict[int, int] = {}
    for old, new in new_exit.items():
        new_layer.setdefault(old if owners is None else owners[old], new)
    result: dict[str, T] = {}
    for name, tensor in weights.items():
        match = layer.match(name) or exit_.match(name)
        if match is None:
            result[name] = tensor
            continue
        if match.re is exit_ and int(match[2]) == kept[-1]:
            continue
        places = new_exit if match.re is exit_ else new_layer
        if int(match[2]) in places:
            result[f"{match[1]}{places[int(match[2])]}{match[3]}"] = tensor
    return result
