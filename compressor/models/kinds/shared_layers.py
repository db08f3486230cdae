"""Encoder layers that use one set of weights several times (ALBERT, Lan et al. 2020)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, TypeVar, cast

from torch import nn

from compressor.errors import CheckpointError
from compressor.models.families import family_of_model
from compressor.models.kinds.low_rank import replace_module
from compressor.models.structure import SharedLayers

Model = TypeVar("Model", bound=nn.Module)


class LayersInTurn(nn.ModuleList):
    """A list of layers in the order in which they run; a layer that stands in it several times is held once.

    It is registered, saved and trained under the number of its first place alone.
    """

    def __init__(self, layers: Iterable[nn.Module], order: list[int]) -> None:
        super().__init__()
        self.order = order
        for number, layer in enumerate(layers):
            if order[number] == number:
                self.add_module(str(number), layer)

    def __len__(self) -> int:
        return len(self.order)

    def __iter__(self) -> Iterator[nn.Module]:
        return (self._of(number) for number in range(len(self.order)))

    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return [self._of(number) for number in range(len(self.order))[index]]
        return self._of(range(len(self.order))[index])

    def _of(self, number: int) -> nn.Module:
        return self.get_submodule(str(self.order[number]))


def make_shared_layers(model: Model, settings: SharedLayers) -> Model:
    """Let layers of a model use the weights of earlier ones, in place; their own are given up.

    Raises:
        CheckpointError: Not one entry a layer.
    """
    family = family_of_model(model)
    layers = family.layers_of(model)
    if len(settings.layers) != len(layers):
        raise CheckpointError(
            f"shared_layers has {len(settings.layers)} entries, the model has {len(layers)} layers: give one a layer."
        )
    in_turn = LayersInTurn(list(layers), list(settings.layers))
    replace_module(model, f"{family.backbone}.{family.layers}", in_turn)
    cast(Any, model).shared_layers = settings
    return model


def earlier_runs(layers: nn.ModuleList, index: int) -> int:
    """How many layers before the one at `index` use the same weights, so that its modules have run so often before."""
    module = layers[index]
    return sum(earlier is module for earlier in list(layers)[:index])
