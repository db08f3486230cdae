"""The sandwich rule with inplace distillation: the losses of one update, one by one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from random import Random
from typing import Any, cast

import torch
from torch import Tensor

from compressor.models.kinds.length_adaptive import Rank
from compressor.stages.length_adaptive.divergence import Kind, mean_divergence
from compressor.stages.length_adaptive.ranking import ranking_loss, relevance
from compressor.stages.length_adaptive.settings import LengthAdaptiveSettings
from compressor.stages.length_adaptive.shape import drop_probabilities, ranking_weight
from compressor.tasks.base import Task
from compressor.training import sub_models


class SandwichObjective:
    """Yields the losses of the full, the smallest and n_s random sub-models; their sum is the loss of the update.

    Kim & Cho 2020: [task loss of the full model + sum over the n_s + 1 others of KL to the full model's detached
    output] / (n_s + 2); in regression, the squared difference to it. The others see no labels. Each loss holds only its
    own graph, so memory holds one at a time. What is drawn depends on `seed` and the step alone.

    With a `guide`, a frozen model of the same task, no labels are read: every pass, the full one too, follows the
    guide's output. That holds the full model where the guide is, which short trainings on little data need.

    Where the first token alone ranks the others, a question's passes that drop tokens also train that ranking
    (`ranking`), which the divergences cannot do: the choice of tokens has no gradient.
    """

    def __init__(
        self,
        task: Task,
        settings: LengthAdaptiveSettings,
        layers: int,
        seed: int,
        guide: torch.nn.Module | None = None,
    ) -> None:
        self.guide = guide
        self.task = task
        self.settings = settings
        self.layers = layers
        self.drops = drop_probabilities(settings, layers)
        self.ranking = ranking_weight(settings, task.name)
        self.seed = seed

    def __call__(
        self, model: torch.nn.Module, inputs: Mapping[str, Tensor], labels: Mapping[str, Tensor], step: int
    ) -> Iterator[Tensor]:
        """Losses of one batch: inputs [batch, length] by the tokenizer's names, labels by the task's."""
        passes = self.drawn(inputs["input_ids"].shape[1], step)
        share = 1 / len(passes)
        names, mask = self.task.output_names, inputs["attention_mask"]
        if self.guide is None:
            outputs = _run(model, inputs, passes[0])
            yield self.task.loss(outputs, labels) * share
            target = {name: outputs[name].detach() for name in names}
            del outputs
            followers = passes[1:]
        else:
            target = _follow(self.guide, inputs, names)
            followers = passes
        for sub_model in followers:
            ranks: list[Rank] | None = [] if self.ranking else None
            outputs = _run(model, inputs, sub_model, ranks)
            distance = mean_divergence(outputs, target, names, output_kind(self.task), mask, self.settings.kl_direction)
            del outputs
            if ranks:
                distance = distance + self.ranking * ranking_loss(ranks, relevance(target, names, mask))
            yield distance * share

    def drawn(self, length: int, step: int) -> list[sub_models.SubModel]:
        """The passes of one update: full, smallest, then n_s random ones."""
        settings, layers = self.settings, self.layers
        random = Random(f"{self.seed} {step}")
        drops, minimum = self.drops, settings.minimum
        full_skips = sub_models.draw_skipped(layers, settings.layer_drop, random) if settings.layer_drop_full else ()
        passes = [sub_models.full(length, layers, full_skips), sub_models.smallest(length, drops, minimum)]
        for _ in range(settings.sandwich):
            skipped = sub_models.draw_skipped(layers, settings.layer_drop, random)
            passes.append(sub_models.draw(length, drops, minimum, random, skipped))
        return passes


def output_kind(task: Task) -> Kind:
    """What the outputs of a task are distributions over; plain numbers in regression."""
    if task.name == "question-answering":
        return "spans"
    if task.name == "token-classification":
        return "tokens"
    if task.name == "text-regression":
        return "numbers"
    return "labels" if task.multi_label else "classes"


def _run(
    model: torch.nn.Module,
    inputs: Mapping[str, Tensor],
    sub_model: sub_models.SubModel,
    ranks: list[Rank] | None = None,
) -> Mapping[str, Tensor]:
    outputs: Any = model(**inputs, counts=sub_model.counts, skip_layers=sub_model.skipped, ranks=ranks)
    return cast(Mapping[str, Tensor], outputs)


@torch.no_grad()
def _follow(guide: torch.nn.Module, inputs: Mapping[str, Tensor], names: Sequence[str]) -> dict[str, Tensor]:
    outputs: Any = guide(**inputs)
    return {name: outputs[name] for name in names}
