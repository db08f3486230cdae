"""Models with pruned weights: their zeros stay, whatever trains them next."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

from torch import Tensor, nn

from compressor.models.families import family_of_model
from compressor.models.structure import Sparse

Model = TypeVar("Model", bound=nn.Module)


def make_sparse(model: Model, settings: Sparse) -> Model:
    """Let the zeros of all matrices of the encoder and its embeddings get no gradient, in place; nothing else changes.

    Which numbers are zero is asked at every backward pass, so weights can be loaded after this.
    """
    if not hasattr(model, "sparse"):
        for parameter in family_of_model(model).backbone_of(model).parameters():
            if parameter.ndim >= 2 and parameter.requires_grad:
                cast(Any, parameter).register_hook(_hold(parameter))
    cast(Any, model).sparse = settings
    return model


def zero_share(tensors: list[Tensor]) -> float:
    """Share of all numbers that are zero."""
    return sum(int((tensor == 0).sum()) for tensor in tensors) / max(1, sum(tensor.numel() for tensor in tensors))


def _hold(parameter: nn.Parameter) -> Callable[[Tensor], Tensor]:
    return lambda gradient: gradient.masked_fill(parameter == 0, 0)
