"""How much a model would miss each of its layers, measured on labelled batches, at full length, without dropout."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from compressor.models.families import family_of_model
from compressor.models.kinds.length_adaptive import whole_inputs
from compressor.models.sub_network import sub_network
from compressor.stages.distill.internals import observe
from compressor.stages.distill.losses import cosine
from compressor.stages.distill.parts import Part
from compressor.tasks.base import Task
from compressor.training.batches import Batch
from compressor.training.precision import training_device


@torch.no_grad()
def turning(model: nn.Module, batches: Sequence[Batch]) -> list[float]:
    """1 - cosine between each layer's input and output, mean over real tokens and batches; one number a layer.

    A layer that hardly turns its input can be left out (block influence, Men et al. 2024, ShortGPT, eq. 1).
    """
    home, device = next(model.parameters()).device, training_device()
    model.to(device).eval()
    layers = len(family_of_model(model).layers_of(model))
    states = [Part("hidden", layer) for layer in range(layers + 1)]
    totals = [0.0] * layers
    for inputs, _ in batches:
        moved = {name: value.to(device) for name, value in inputs.items()}
        seen = observe(model, moved, states, outputs=False)[1]
        for layer in range(layers):
            turned = cosine(seen[states[layer]], seen[states[layer + 1]], moved["attention_mask"])
            totals[layer] += turned.item() / len(batches)
    model.to(home)
    return totals


@torch.no_grad()
def loss_without(model: nn.Module, batches: Sequence[Batch], task: Task) -> list[float]:
    """The task's loss, mean over examples, when a layer is left out and the others stay; one number a layer."""
    home, device = next(model.parameters()).device, training_device()
    model.to(device).eval()
    layers = len(family_of_model(model).layers_of(model))
    examples = sum(len(inputs["input_ids"]) for inputs, _ in batches)
    totals = [0.0] * layers
    for inputs, labels in batches:
        arguments = whole_inputs(model, {name: value.to(device) for name, value in inputs.items()})
        wanted = {name: value.to(device) for name, value in labels.items()}
        for layer in range(layers):
            with sub_network(model, layers=[other for other in range(layers) if other != layer]):
                loss = task.loss(model(**arguments), wanted)
            totals[layer] += loss.item() * len(inputs["input_ids"]) / examples
    model.to(home)
    return totals
