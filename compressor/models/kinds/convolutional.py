"""Convolutions over neighbouring tokens in the place of the transformer layers (Kim 2014)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from compressor.errors import CheckpointError
from compressor.models.kinds.other_encoder import dropout_of, encoder_width, replace_encoder, with_summary
from compressor.models.structure import Convolutional

Model = TypeVar("Model", bound=nn.Module)


class Convolution(nn.Module):
    """Filters of several windows side by side, an equal share of the width each, then ReLU.

    A window of k tokens is one product of their states in a row with weights [filters, k * width], so that whatever
    quantizes products quantizes it. Token t of an even window sees one more token before it than behind it.
    """

    def __init__(self, width: int, hidden: int, windows: Sequence[int]) -> None:
        super().__init__()
        self.windows = tuple(windows)
        share = hidden // len(windows)
        self.filters = nn.ModuleList(nn.Linear(window * width, share) for window in windows)

    def forward(self, states: Tensor) -> Tensor:
        """[batch, length, hidden] of [batch, length, width]; beyond the row there are zeros."""
        found = [
            filters(_neighbours(states, window)) for filters, window in zip(self.filters, self.windows, strict=True)
        ]
        return torch.relu(torch.cat(found, dim=-1))


class ConvolutionalEncoder(nn.Module):
    """Layers of convolutions; the summary is each filter's largest answer over the real tokens (max over time)."""

    def __init__(
        self, width: int, hidden: int, windows: Sequence[int], layers: int, *, dropout: float, summary: bool
    ) -> None:
        super().__init__()
        self.summary = summary
        self.convolutions = nn.ModuleList(
            Convolution(width if layer == 0 else hidden, hidden, windows) for layer in range(layers)
        )
        self.dropout = nn.Dropout(dropout)

    def forward(self, states: Tensor, mask: Tensor) -> Tensor:
        """States [batch, length, hidden] of states [batch, length, width] and a mask [batch, length].

        Positions of padding get zeros, which is what lies beyond a row's end.
        """
        real = mask.unsqueeze(-1).to(states.dtype)
        states = states * real
        for index, convolution in enumerate(self.convolutions):
            states = convolution(states if index == 0 else self.dropout(states)) * real
        if not self.summary:
            return states
        return with_summary(states, states.amax(dim=1))  # ReLU: nothing is below padding's zero


def make_convolutional(model: Model, settings: Convolutional) -> Model:
    """Give a stock model convolutions with new random weights instead of its layers; in place.

    Raises:
        CheckpointError: The hidden size is no multiple of the number of windows.
    """
    config = cast(Any, model).config
    width, hidden = encoder_width(model, settings.embedding_size)
    if hidden % len(settings.windows):
        raise CheckpointError(f"{len(settings.windows)} windows cannot share a hidden size of {hidden} evenly.")
    encoder = ConvolutionalEncoder(
        width, hidden, settings.windows, settings.layers, dropout=dropout_of(config), summary=settings.summary
    )
    replace_encoder(model, encoder, settings.embedding_size)
    cast(Any, model).convolutional = settings
    return model


def _neighbours(states: Tensor, window: int) -> Tensor:
    """Each token's states with those of its neighbours behind each other, [batch, length, window * width]."""
    length = states.shape[1]
    before = window // 2
    padded = functional.pad(states, (0, 0, before, window - 1 - before))
    return torch.cat([padded[:, shift : shift + length] for shift in range(window)], dim=-1)
