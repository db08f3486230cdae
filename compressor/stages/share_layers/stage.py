"""The stage `share_layers`: groups of layers use one set of weights (ALBERT, Lan et al. 2020, 3.1).

The weights are stored and trained once; every layer still runs, so that speed does not change. They start as the mean
of the group's layers or as its first layer. Nothing is trained: put `distill` or `finetune` behind it.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from compressor.models import checkpoint as checkpoints
from compressor.models.families import family_of_model
from compressor.models.kinds.shared_layers import make_shared_layers
from compressor.models.structure import SharedLayers, Structure
from compressor.stages.context import Checkpoint, StageContext
from compressor.stages.share_layers.settings import ShareLayersSettings
from compressor.stages.share_layers.shape import shape


def run(source: Checkpoint, settings: ShareLayersSettings, context: StageContext) -> Checkpoint:
    """Write the checkpoint with shared layers.

    Raises:
        RequestError: Layers that cannot be shared like this.
        CheckpointError: The checkpoint cannot be loaded for the task.
    """
    after = shape(checkpoints.read_config(source.path), {}, settings)
    model: nn.Module = checkpoints.load(source.path, context.task)
    shared = Structure.from_config(after).shared_layers or SharedLayers(layers=[])
    layers = list(family_of_model(model).layers_of(model))
    if settings.start == "mean":
        for owner in dict.fromkeys(shared.layers):
            put_mean([layer for layer, of in zip(layers, shared.layers, strict=True) if of == owner])
    make_shared_layers(model, shared)
    checkpoints.save(model, checkpoints.load_tokenizer(source.path), context.output)
    return Checkpoint(context.output, source.key)


@torch.no_grad()
def put_mean(layers: Sequence[nn.Module]) -> None:
    """Give the first of some layers of one shape the mean of their weights, in place."""
    for name, parameter in layers[0].named_parameters():
        parameter.copy_(torch.stack([layer.get_parameter(name) for layer in layers]).mean(0))
