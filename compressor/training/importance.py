"""How much a model would miss each head, each inner unit and each dimension of its residual stream.

A mask of ones is laid on what may go. Its gradient says, to first order, how the loss of an example changes when the
masked thing is taken away: its absolute value, mean over examples, is Taylor importance (Michel et al. 2019, eq. 2;
for a unit this is |sum of w·g| over its outgoing weights), its square the diagonal of the Fisher information.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn

from compressor.models.families import Family, family_of_model
from compressor.models.hidden import axes_of, output_layer
from compressor.models.kinds.length_adaptive import whole_inputs
from compressor.models.kinds.widths import model_widths
from compressor.tasks.base import Task
from compressor.training.batches import Batch
from compressor.training.precision import training_device

Kind = Literal["taylor", "fisher", "magnitude", "random"]


@dataclass(frozen=True)
class Importance:
    """Float32 scores, the more important the higher; comparable within one list entry, not between kinds."""

    heads: list[Tensor]  # [layers] of [heads]
    units: list[Tensor]  # [layers] of [inner units of the feed-forward block]
    stream: Tensor  # [hidden]
    summary: Tensor | None  # [hidden], of the dense layer of a text head


def importance(kind: Kind, model: nn.Module, batches: Sequence[Batch], task: Task, seed: int) -> Importance:
    """Score a task model; `batches` are read by `taylor` and `fisher`, `seed` by `random`."""
    if kind == "magnitude":
        return by_magnitude(model)
    if kind == "random":
        return by_chance(model, seed)
    return by_gradients(model, batches, task, squared=kind == "fisher")


def by_gradients(model: nn.Module, batches: Sequence[Batch], task: Task, *, squared: bool) -> Importance:
    """Mean of the absolute or squared gradient of each mask over the examples, in evaluation mode, at full length."""
    home, device = next(model.parameters()).device, training_device()
    model.to(device).eval()
    family, widths = family_of_model(model), model_widths(model)
    totals: dict[str, Tensor] = {}
    examples = 0
    with _masked(model, family) as masks, torch.enable_grad():
        for inputs, labels in batches:
            masks.clear()
            outputs = model(**whole_inputs(model, {name: value.to(device) for name, value in inputs.items()}))
            rows = len(inputs["input_ids"])
            loss = task.loss(outputs, {name: value.to(device) for name, value in labels.items()}) * rows
            gradients = torch.autograd.grad(loss, list(masks.values()))
            for name, gradient in zip(masks, gradients, strict=True):
                found = (gradient.square() if squared else gradient.abs()).sum(dim=0).cpu()
                totals[name] = totals.get(name, torch.zeros(())) + found
            examples += rows
    model.to(home)
    layers = range(len(widths))
    return Importance(
        heads=[totals[f"heads.{layer}"] / examples for layer in layers],
        units=[totals[f"units.{layer}"] / examples for layer in layers],
        stream=totals["stream"] / examples,
        summary=totals["summary"] / examples if "summary" in totals else None,
    )


@torch.no_grad()
def by_magnitude(model: nn.Module) -> Importance:
    """Euclidean norm of all weights of a head, a unit or a dimension."""
    family, heads, units = family_of_model(model), [], []
    for layer, width in zip(family.layers_of(model), model_widths(model), strict=True):
        rows = [attrgetter(path)(layer).weight for path in (family.query, family.key, family.value)]
        columns = attrgetter(family.attention_output)(layer).weight
        squares = sum(weight.square().sum(dim=1) for weight in (*rows, columns.T))
        heads.append(squares.view(width.heads, width.head_size).sum(dim=1).sqrt())
        inner, outer = attrgetter(family.feed_forward_in)(layer), attrgetter(family.feed_forward_out)(layer)
        units.append((inner.weight.square().sum(dim=1) + outer.weight.square().sum(dim=0)).sqrt())
    spaces: dict[str, Tensor] = {}
    weights = model.state_dict()
    for name, axes in axes_of(weights, family).items():
        for axis, space in enumerate(axes):
            if space is not None:
                others = [other for other in range(weights[name].ndim) if other != axis]
                squares = weights[name].square().sum(dim=others) if others else weights[name].square()
                spaces[space] = spaces.get(space, torch.zeros_like(squares)) + squares
    summary = spaces.get("summary")
    return Importance(heads, units, spaces["stream"].sqrt(), None if summary is None else summary.sqrt())


def by_chance(model: nn.Module, seed: int) -> Importance:
    """Scores drawn from the seed: what every other kind must beat."""
    generator = torch.Generator().manual_seed(seed)
    widths = model_widths(model)
    hidden = family_of_model(model).hidden_size(cast(Any, model).config.to_dict())
    return Importance(
        heads=[torch.rand(width.heads, generator=generator) for width in widths],
        units=[torch.rand(width.feed_forward, generator=generator) for width in widths],
        stream=torch.rand(hidden, generator=generator),
        summary=torch.rand(hidden, generator=generator),
    )


@contextmanager
def _masked(model: nn.Module, family: Family) -> Iterator[dict[str, Tensor]]:
    """Lay masks of ones [batch, things] on everything that may go; they are made anew in each forward pass."""
    masks: dict[str, Tensor] = {}

    def apply(name: str, states: Tensor, repeat: int = 1) -> Tensor:
        if name not in masks:
            shape = (states.shape[0], states.shape[-1] // repeat)
            masks[name] = torch.ones(shape, device=states.device, requires_grad=True)
        mask = masks[name].repeat_interleave(repeat, dim=1)
        return states * mask.view(mask.shape[0], *[1] * (states.ndim - 2), mask.shape[1])

    def before(name: str, repeat: int = 1) -> Callable[..., Any]:
        return lambda module, arguments: (apply(name, arguments[0], repeat), *arguments[1:])

    def behind(name: str) -> Callable[..., Any]:
        return lambda module, arguments, result: apply(name, result)

    hooks = [family.embedded(model).register_forward_hook(behind("stream"))]
    for index, (layer, width) in enumerate(zip(family.layers_of(model), model_widths(model), strict=True)):
        parts = {path: attrgetter(path)(layer) for path in (family.attention_output, family.feed_forward_out)}
        hooks.append(
            parts[family.attention_output].register_forward_pre_hook(before(f"heads.{index}", width.head_size))
        )
        hooks.append(parts[family.feed_forward_out].register_forward_pre_hook(before(f"units.{index}")))
        for path in (family.attention_norm, family.feed_forward_norm):
            hooks.append(attrgetter(path)(layer).register_forward_hook(behind("stream")))
    if f"{family.classifier_dense}.weight" in model.state_dict():
        hooks.append(output_layer(model, family).register_forward_pre_hook(before("summary")))
    try:
        yield masks
    finally:
        for hook in hooks:
            hook.remove()
