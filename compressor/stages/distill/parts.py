"""What distillation compares: tensors inside a model, and what it must know of a model's shape. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from compressor.models.families import family_of


class Part(NamedTuple):
    """A tensor inside a model: [batch, length, hidden] of a layer counted from 1; hidden state 0 is the embeddings."""

    kind: Literal["hidden", "query", "key", "value"]
    layer: int


@dataclass(frozen=True)
class Shape:
    """What distillation must know of a model's shape."""

    layers: int
    hidden_size: int
    heads: int

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> Shape:
        """Read the shape from a `config.json` mapping."""
        family = family_of(config)
        return cls(family.layer_count(config), family.hidden_size(config), family.head_count(config))
