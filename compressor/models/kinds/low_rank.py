"""Linear layers and word embeddings as products of two smaller matrices, under the names of what they replace."""

from __future__ import annotations

from typing import Any, TypeVar, cast

import torch
from torch import Tensor, nn

from compressor.errors import CheckpointError
from compressor.models.families import family_of_model
from compressor.models.structure import EmbeddingRank, LowRank

Model = TypeVar("Model", bound=nn.Module)

WORDS = "word_embeddings"
"""What every family calls its table of word embeddings."""


class LowRankLinear(nn.Module):
    """y = second(first(x)): `first` [rank, in] has no bias, `second` [out, rank] has the layer's."""

    def __init__(self, in_features: int, out_features: int, rank: int, *, bias: bool = True) -> None:
        super().__init__()
        self.first = nn.Linear(in_features, rank, bias=False)
        self.second = nn.Linear(rank, out_features, bias=bias)

    def forward(self, states: Tensor) -> Tensor:
        """[..., in] to [..., out]."""
        return cast(Tensor, self.second(self.first(states)))


class FactorizedEmbedding(nn.Embedding):
    """A table of `rank` columns, `weight` [words, rank], and a projection [width, rank] that all words share."""

    def __init__(self, words: int, rank: int, width: int, padding_idx: int | None = None) -> None:
        super().__init__(words, rank, padding_idx=padding_idx)
        self.projection = nn.Linear(rank, width, bias=False)

    def forward(self, input: Tensor) -> Tensor:
        """Word ids [...] to [..., width]."""
        return cast(Tensor, self.projection(super().forward(input)))


def make_low_rank(model: Model, settings: LowRank) -> Model:
    """Replace the named linear layers by pairs of the given inner widths with new random weights, in place.

    Raises:
        CheckpointError: A name is no linear layer of the model, or a rank is larger than the layer.
    """
    for name, rank in settings.ranks.items():
        try:
            layer = model.get_submodule(name)
        except AttributeError as error:
            raise CheckpointError(f"low_rank: the model has no layer '{name}'.") from error
        if not isinstance(layer, nn.Linear | LowRankLinear):
            raise CheckpointError(f"low_rank: '{name}' is no linear layer.")
        weight, bias = dense(layer)
        rows, columns = weight.shape
        if rank > min(rows, columns):
            raise CheckpointError(f"low_rank: rank {rank} is larger than '{name}', which is {rows} x {columns}.")
        replace_module(model, name, LowRankLinear(columns, rows, rank, bias=bias is not None))
    cast(Any, model).low_rank = settings
    return model


def replace_module(model: nn.Module, name: str, module: nn.Module) -> None:
    """Put a module in the place of the one with a dotted name."""
    parent, _, last = name.rpartition(".")
    setattr(model.get_submodule(parent), last, module)


def dense(layer: nn.Linear | LowRankLinear) -> tuple[Tensor, Tensor | None]:
    """Weight [out, in] and bias [out] of a linear layer, multiplied out where it is a pair."""
    if isinstance(layer, LowRankLinear):
        return layer.second.weight @ layer.first.weight, layer.second.bias
    return layer.weight, layer.bias


@torch.no_grad()
def put_factors(model: nn.Module, name: str, first: Tensor, second: Tensor, bias: Tensor | None) -> None:
    """Give a `LowRankLinear` of the model its weights: first [rank, in], second [out, rank]."""
    layer = cast(LowRankLinear, model.get_submodule(name))
    layer.first.weight.copy_(first)
    layer.second.weight.copy_(second)
    if bias is not None:
        layer.second.bias.copy_(bias)


def make_embedding_rank(model: Model, settings: EmbeddingRank) -> Model:
    """Replace the word embeddings by a factorized table with new random weights, in place.

    Raises:
        CheckpointError: The rank is larger than the embeddings.
    """
    table = word_embeddings(model)
    width = table.projection.out_features if isinstance(table, FactorizedEmbedding) else table.embedding_dim
    if settings.rank > min(width, table.num_embeddings):
        raise CheckpointError(
            f"embedding_rank: rank {settings.rank} is larger than the table, {table.num_embeddings} x {width}."
        )
    new = FactorizedEmbedding(table.num_embeddings, settings.rank, width, table.padding_idx)
    family = family_of_model(model)
    replace_module(model, f"{family.backbone}.{family.embeddings}.{WORDS}", new)
    cast(Any, model).embedding_rank = settings
    return model


def word_embeddings(model: nn.Module) -> nn.Embedding:
    """The table that `input_ids` look up."""
    family = family_of_model(model)
    return cast(nn.Embedding, getattr(getattr(family.backbone_of(model), family.embeddings), WORDS))
