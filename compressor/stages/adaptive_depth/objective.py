"""What the exits are trained for: one loss a method, from what every layer says. Pure but for the forward pass."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from random import Random
from typing import Any, cast

import torch
from torch import Tensor

from compressor.models.kinds import halting
from compressor.models.kinds.adaptive_depth import SMALLEST, Answer
from compressor.models.structure import LengthAdaptive
from compressor.stages.adaptive_depth.settings import PONDER, AdaptiveDepthSettings
from compressor.tasks.base import Task
from compressor.training import sub_models


def dact_loss(
    said: Sequence[Answer], labels: Tensor, *, tau: float, ponder: PONDER = "weights", several: bool = False
) -> Tensor:
    """Negative log-likelihood of the accumulated answer plus tau times the ponder cost; a float32 scalar.

    The accumulated answer is a probability already, so no softmax comes after it.

    Args:
        said: What each layer says, the last without a halting unit.
        labels: Classes [batch], or 0.0 and 1.0 [batch, labels] if `several`.
        tau: The price of a layer.
        ponder: weights: the sum of p_n; units: the sum of h_n.
        several: Whether labels are independent.
    """
    logits = [answer.logits.float() for answer in said]
    chances = [torch.sigmoid(each) if several else torch.softmax(each, dim=-1) for each in logits]
    so_far, weight = torch.zeros_like(chances[0]), torch.ones_like(chances[0][:, :1])
    price = torch.zeros_like(chances[0][:, 0])
    for chance, answer in zip(chances, said, strict=True):
        so_far = halting.accumulate(chance, so_far, weight)
        if answer.unit is not None:
            unit = answer.unit.float()
            weight = weight * unit
            price = price + (weight if ponder == "weights" else unit).squeeze(-1)
    if several:
        right = torch.where(labels > 0, so_far, 1 - so_far).clamp(min=SMALLEST)
        likelihood = right.log().mean(dim=-1)
    else:
        likelihood = so_far.gather(1, labels.unsqueeze(1)).squeeze(1).clamp(min=SMALLEST).log()
    return (tau * price - likelihood).mean()


def weights_of(method: str, layers: int) -> list[float]:
    """How much each layer's own loss counts.

    DeeBERT trains all exits alike and leaves the rest as it is; PABEE weighs the j-th answer by j, all together 1.
    """
    if method == "deebert":
        return [1.0] * (layers - 1) + [0.0]
    return [2 * (number + 1) / (layers * (layers + 1)) for number in range(layers)]


class ExitsObjective:
    """One pass an update: the loss of all exits together.

    Of a length-adaptive model there are two, which count half each: one at full length, one at lengths that are drawn
    as LengthDrop draws them (they depend on `seed` and the step alone), so that both dials can be turned at once.

    With DACT the exits learn by themselves for the first `alone` steps, a batch each. Halting units that see untrained
    exits open at once and for good (of 150 classes none could tell one), and an exit behind open units has no gradient.
    """

    def __init__(
        self, task: Task, settings: AdaptiveDepthSettings, *, seed: int, lengths: LengthAdaptive | None, alone: int
    ) -> None:
        self.alone = alone
        self.task = task
        self.settings = settings
        self.lengths = lengths
        self.seed = seed

    def __call__(
        self, model: torch.nn.Module, inputs: Mapping[str, Tensor], labels: Mapping[str, Tensor], step: int
    ) -> Iterator[Tensor]:
        """The loss of one batch: inputs [batch, length] by the tokenizer's names, labels by the task's."""
        if self.lengths is None:
            yield self._loss(cast(Any, model).answers(**inputs), labels, step)
            return
        length, layers = inputs["input_ids"].shape[1], len(self.lengths.keep)
        drops, random = [self.settings.length_drop] * layers, Random(f"{self.seed} {step}")
        shorter = sub_models.draw(length, drops, self.lengths.minimum, random)
        for passed in (sub_models.full(length, layers), shorter):
            yield self._loss(cast(Any, model).answers(**inputs, counts=passed.counts), labels, step) / 2

    def _loss(self, said: list[Answer], labels: Mapping[str, Tensor], step: int) -> Tensor:
        settings, several = self.settings, self.task.multi_label
        if settings.method == "dact" and step >= self.alone:
            target = labels[self.task.label_names[0]]
            loss = dact_loss(said, target, tau=settings.tau, ponder=settings.ponder, several=several)
            return loss + settings.exit_loss * self._exits(said, labels) if settings.exit_loss else loss
        return self._exits(said, labels)

    def _exits(self, said: list[Answer], labels: Mapping[str, Tensor]) -> Tensor:
        """The layers' own losses, weighed by the method (DACT's as PABEE's)."""
        shares = weights_of(self.settings.method, len(said))
        losses = [self.task.loss({"logits": answer.logits}, labels) for answer in said]
        return torch.stack([share * loss for share, loss in zip(shares, losses, strict=True) if share]).sum()
