"""Embedding width, multiply-accumulates and weights of encoders that are no transformers. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from compressor.models.families import family_of
from compressor.models.structure import Convolutional, Recurrent, Structure


def macs_of_a_token(kind: Recurrent | Convolutional, width: int, hidden: int) -> int:
    """Products for one token, by the width of the embeddings and the hidden size.

    An LSTM direction of h units has four gates that read its input and its own state; a filter reads its whole window.
    """
    total = 0
    for layer in range(kind.layers):
        reads = width if layer == 0 else hidden
        if isinstance(kind, Recurrent):
            half = hidden // 2
            total += 2 * 4 * half * (reads + half)
        else:
            total += sum(kind.windows) * reads * (hidden // len(kind.windows))
    return total


def weights(kind: Recurrent | Convolutional, width: int, hidden: int) -> int:
    """Number of weights: every product's, and the biases (an LSTM of torch has two for each gate)."""
    biases = 2 * 4 * hidden if isinstance(kind, Recurrent) else hidden
    return macs_of_a_token(kind, width, hidden) + kind.layers * biases


def embedding_width(config: Mapping[str, Any]) -> int:
    """Width of the embeddings by a `config.json` mapping; an encoder that is no transformer may have its own."""
    other = Structure.from_config(config).other_encoder
    return other.embedding_size if other and other.embedding_size else family_of(config).embedding_size(config)
