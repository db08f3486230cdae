"""Pruning while something else is learned: the masks follow the schedule, the losses are another objective's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from torch import Tensor, nn

from compressor.stages.prune_weights.choice import sparsity_at
from compressor.stages.prune_weights.masked import MaskedWeights
from compressor.stages.prune_weights.settings import PruneWeightsSettings
from compressor.training import Objective


class Pruning:
    """Chooses the weights that stay before each update that is due, then yields the losses of `learned`.

    Soft movement adds penalty · s/f · mean sigmoid(scores), with s the sparsity now and f the final one.
    """

    def __init__(
        self, learned: Objective, weights: MaskedWeights, settings: PruneWeightsSettings, updates: int
    ) -> None:
        self.learned = learned
        self.weights = weights
        self.settings = settings
        self.updates = updates

    def __call__(
        self, model: nn.Module, inputs: Mapping[str, Tensor], labels: Mapping[str, Tensor], step: int
    ) -> Iterator[Tensor]:
        """The losses of one batch."""
        settings = self.settings
        update, part = divmod(step, settings.gradient_accumulation)
        sparsity = sparsity_at(update / self.updates, settings.sparsity, settings.prune_from, settings.prune_until)
        if part == 0 and update % settings.every == 0:
            self.weights.choose(sparsity)
        yield from self.learned(model, inputs, labels, step)
        if settings.method == "soft_movement" and settings.penalty:
            yield settings.penalty * sparsity / settings.sparsity * self.weights.mean_score()
