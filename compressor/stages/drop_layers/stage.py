"""The stage `drop_layers`: a smaller checkpoint made of chosen encoder layers (Sajjad et al. 2020).

It works on names and tensors alone, so that it also takes checkpoints that have no head for the task yet. Entries of
the structure that count layers (`length_adaptive.keep`) lose those of the dropped ones.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TypeVar

from compressor.models import checkpoint as checkpoints
from compressor.models.families import Family, family_of
from compressor.models.weights import read_weights
from compressor.stages.context import Checkpoint, StageContext
from compressor.stages.drop_layers.selection import kept_layers
from compressor.stages.drop_layers.settings import DropLayersSettings
from compressor.stages.drop_layers.shape import shape

T = TypeVar("T")


def run(checkpoint: Checkpoint, settings: DropLayersSettings, context: StageContext) -> Checkpoint:
    """Write the checkpoint with only the chosen layers left, numbered anew from 0.

    Raises:
        RequestError: The model cannot keep these layers.
        CheckpointError: The checkpoint is damaged.
    """
    config = checkpoints.read_config(checkpoint.path)
    family = family_of(config)
    kept = kept_layers(settings, family.layer_count(config))
    smaller = {**shape(config, {}, settings), "dtype": "float32"}
    smaller.pop("torch_dtype", None)
    checkpoints.load(checkpoint.path, context.task, new_head=True)  # nothing of a damaged checkpoint goes on
    weights = renumbered(read_weights(checkpoint.path), family, kept)
    checkpoints.write(smaller, weights, checkpoints.load_tokenizer(checkpoint.path), context.output)
    return Checkpoint(context.output, checkpoint.key)


def renumbered(weights: Mapping[str, T], family: Family, kept: Sequence[int]) -> dict[str, T]:
    """Weights by name without those of dropped layers; the layers that stay are numbered 0, 1, 2 ...

    So are the exits of an adaptive-depth model, one behind every layer but the last, whose head is the model's own.
    """
    layer = re.compile(rf"^((?:{re.escape(family.backbone)}\.)?{re.escape(family.layers)}\.)(\d+)(\..*)$")
    exit_ = re.compile(r"^(exits\.)(\d+)(\..*)$")
    new_number = {old: new for new, old in enumerate(kept)}
    result: dict[str, T] = {}
    for name, tensor in weights.items():
        match = layer.match(name) or exit_.match(name)
        if match is None:
            result[name] = tensor
        elif match.re is exit_ and int(match[2]) == kept[-1]:
            continue
        elif int(match[2]) in new_number:
            result[f"{match[1]}{new_number[int(match[2])]}{match[3]}"] = tensor
    return result
