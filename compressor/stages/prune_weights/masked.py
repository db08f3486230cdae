"""Weights under a mask while the model trains: a parametrization of each pruned matrix."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from compressor.stages.prune_weights.choice import masks, straight_through
from compressor.stages.prune_weights.settings import PruneWeightsSettings

_WEIGHT = "weight"


class Mask(nn.Module):
    """W' = W · M, with scores that learn where M is 1 if the method needs them; M is kept between choices."""

    def __init__(self, weight: Tensor, settings: PruneWeightsSettings) -> None:
        super().__init__()
        self.learning_rate = settings.score_learning_rate
        self.soft = settings.method == "soft_movement"
        self.register_buffer("mask", torch.ones_like(weight, dtype=torch.bool))
        learned = settings.method != "magnitude"
        self.scores = nn.Parameter(torch.zeros_like(weight)) if learned else None
        self.mask: Tensor

    def forward(self, weight: Tensor) -> Tensor:
        """The weight with zeros where the mask is false."""
        if self.scores is None:
            return weight * self.mask
        return weight * straight_through(self.chance() if self.soft else self.scores, self.mask)

    def chance(self) -> Tensor:
        """The scores between 0 and 1."""
        assert self.scores is not None
        return torch.sigmoid(self.scores)


class MaskedWeights:
    """All pruned matrices of a model, under masks until `apply`."""

    def __init__(self, modules: Sequence[nn.Module], settings: PruneWeightsSettings) -> None:
        self.modules = modules
        self.settings = settings
        self.masks = [Mask(weight, settings) for weight in self._weights()]
        for module, mask in zip(modules, self.masks, strict=True):
            parametrize.register_parametrization(module, _WEIGHT, mask)

    @torch.no_grad()
    def choose(self, sparsity: float) -> None:
        """Choose anew which weights stay: the share of the highest scores; of soft ones only those above the threshold.

        Sanh et al. have no share beside the threshold, see the stage.
        """
        settings = self.settings
        for mask, kept in zip(self.masks, masks(self._scores(), sparsity, settings.scope), strict=True):
            mask.mask.copy_(kept & (mask.chance() > settings.threshold) if mask.soft else kept)

    def mean_score(self) -> Tensor:
        """Mean over all weights of their scores between 0 and 1, with its gradient."""
        total = sum(mask.mask.numel() for mask in self.masks)
        return torch.stack([mask.chance().sum() for mask in self.masks]).sum() / total

    def apply(self) -> list[Tensor]:
        """Make the masked weights the modules' own, for good; they are returned."""
        for module in self.modules:
            parametrize.remove_parametrizations(module, _WEIGHT, leave_parametrized=True)
        return self._weights()

    def _weights(self) -> list[Tensor]:
        return [module.get_parameter(_WEIGHT) for module in self.modules]

    def _scores(self) -> list[Tensor]:
        """What is ranked; weights that are zero already, by an earlier pruning, come last."""
        ranked = []
        for mask, weight in zip(self.masks, originals(self.modules), strict=True):
            scores = weight.abs() if mask.scores is None else mask.scores
            ranked.append(scores.masked_fill(weight == 0, -torch.inf))
        return ranked


def originals(modules: Iterable[nn.Module]) -> list[Tensor]:
    """The weights under the masks."""
    return [module.get_parameter(f"parametrizations.{_WEIGHT}.original") for module in modules]


def with_weights(model: nn.Module, names: Iterable[str]) -> list[nn.Module]:
    """The linear layers and embeddings that are the named modules or stand in them, each once."""
    found: dict[int, nn.Module] = {}
    for name in names:
        for module in model.get_submodule(name).modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                found[id(module)] = module
    return list(found.values())
