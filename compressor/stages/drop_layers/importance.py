"""How much a model would miss each of its layers, measured on labelled batches, at full length, without dropout."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

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
from compressor.training.ranking import best

Judge = Callable[[Sequence[int]], Sequence[float]]
"""Scores of the given layers (indices from 0), as if the model had no others."""


def most_important(judge: Judge, layers: int, count: int, *, one_by_one: bool, apart: int = 0) -> list[int]:
    """Indices of the `count` layers that stay, in order.

    With `one_by_one` the least important layer goes and the others are judged anew, as often as needed: of two layers
    that do the same work the model misses neither as long as both are there. `apart`: how many of the layers, from the
    bottom, keep two texts apart (0: none); the best of them and the best of the others stay in any case.
    """
    left = list(range(layers))
    while len(left) > count:
        scores = list(judge(left))
        for half in (range(apart), range(apart, layers)) if apart else ():
            places = [place for place, layer in enumerate(left) if layer in half]
            scores[max(places, key=scores.__getitem__)] = math.inf
        left = [left[place] for place in best(scores, len(left) - 1 if one_by_one else count)]
    return left


@torch.no_grad()
def turning(model: nn.Module, batches: Sequence[Batch], left: Sequence[int] | None = None) -> list[float]:
    """1 - cosine between each layer's input and output, mean over real tokens and batches; one number a layer.

    A layer that hardly turns its input can be left out (block influence, Men et al. 2024, ShortGPT, eq. 1).
    `left`: the layers (indices from 0) that run and are judged; None: all.
    """
    home, device = next(model.parameters()).device, training_device()
    model.to(device).eval()
    kept = _all_layers(model) if left is None else left
    states = [Part("hidden", place) for place in range(len(kept) + 1)]
    totals = [0.0] * len(kept)
    with sub_network(model, layers=kept):
        for inputs, _ in batches:
            moved = {name: value.to(device) for name, value in inputs.items()}
            seen = observe(model, moved, states, outputs=False)[1]
            for place in range(len(kept)):
                turned = cosine(seen[states[place]], seen[states[place + 1]], moved["attention_mask"])
                totals[place] += turned.item() / len(batches)
    model.to(home)
    return totals


@torch.no_grad()
def loss_without(
    model: nn.Module, batches: Sequence[Batch], task: Task, left: Sequence[int] | None = None
) -> list[float]:
    """The task's loss, mean over examples, when a layer is left out and the others stay; one number a layer.

    `left`: the layers (indices from 0) that are there at all; None: all.
    """
    home, device = next(model.parameters()).device, training_device()
    model.to(device).eval()
    kept = _all_layers(model) if left is None else left
    examples = sum(len(inputs["input_ids"]) for inputs, _ in batches)
    totals = [0.0] * len(kept)
    for inputs, labels in batches:
        arguments = whole_inputs(model, {name: value.to(device) for name, value in inputs.items()})
        wanted = {name: value.to(device) for name, value in labels.items()}
        for place, layer in enumerate(kept):
            with sub_network(model, layers=[other for other in kept if other != layer]):
                loss = task.loss(model(**arguments), wanted)
            totals[place] += loss.item() * len(inputs["input_ids"]) / examples
    model.to(home)
    return totals


def _all_layers(model: nn.Module) -> Sequence[int]:
    return range(len(family_of_model(model).layers_of(model)))
