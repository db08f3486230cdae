"""The weight matrices of the encoder's layers by `config.json`: names, shapes, ranks. Imports nothing heavy."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from compressor.errors import RequestError
from compressor.models.families import family_of
from compressor.models.kinds.widths import layer_widths
from compressor.models.structure import Structure

QUERY, KEY, VALUE, OUTPUT = "query", "key", "value", "attention_output"
FEED_FORWARD = ("feed_forward_in", "feed_forward_out")
PARTS = (QUERY, KEY, VALUE, OUTPUT, *FEED_FORWARD)
"""The linear layers of one encoder layer, by their names in `Family`."""


@dataclass(frozen=True)
class Matrix:
    """One linear layer: `weight` [rows, columns], or the product of [rows, rank] and [rank, columns]."""

    name: str  # dotted, in the task model; of a layer that shares weights the owner's
    rows: int
    columns: int
    rank: int | None = None

    @property
    def size(self) -> int:
        """Numbers in it without the bias, which are its multiplications for one token too."""
        if self.rank is None:
            return self.rows * self.columns
        return self.rank * (self.rows + self.columns)


def layer_matrices(config: Mapping[str, Any]) -> list[dict[str, Matrix]]:
    """For every layer, in the order in which they run, its matrices by `PARTS`.

    Layers that share weights have the same ones.

    Raises:
        CheckpointError: The structure does not fit the model.
    """
    family, structure = family_of(config), Structure.from_config(config)
    hidden = family.hidden_size(config)
    ranks = structure.low_rank.ranks if structure.low_rank else {}
    result = []
    for layer, width in enumerate(layer_widths(config)):
        owner = structure.shared_layers.layers[layer] if structure.shared_layers else layer
        matrices = {}
        for part in PARTS:
            name = f"{family.backbone}.{family.layers}.{owner}.{getattr(family, part)}"
            inner = width.feed_forward if part in FEED_FORWARD else width.attention
            narrowing = part in (OUTPUT, FEED_FORWARD[1])
            rows, columns = (hidden, inner) if narrowing else (inner, hidden)
            matrices[part] = Matrix(name, rows, columns, ranks.get(name))
        result.append(matrices)
    return result


def encoder_matrices(config: Mapping[str, Any]) -> dict[str, Matrix]:
    """All matrices of the encoder's layers by name, each once; errors as `layer_matrices`."""
    return {matrix.name: matrix for layer in layer_matrices(config) for matrix in layer.values()}


def matching(names: Sequence[str], patterns: Sequence[str], *, where: str) -> list[str]:
    """The names that fit one of the patterns (`*` and `?`), in their own order; no pattern: all of them.

    Raises:
        RequestError: A pattern fits none of the names; `where` says whose setting it is.
    """
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in names):
            near = difflib.get_close_matches(pattern.replace("*", ""), names, n=1, cutoff=0.0)
            raise RequestError(f"{where}: '{pattern}' fits no matrix of the encoder's layers, such as {near[0]}.")
    if not patterns:
        return list(names)
    return [name for name in names if any(fnmatchcase(name, pattern) for pattern in patterns)]
