"""What distillation compares: tensors inside a model, and what it must know of a model's shape. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from compressor.models.families import family_of
from compressor.models.kinds.widths import layer_widths
from compressor.models.structure import Structure


class Part(NamedTuple):
    """A tensor inside a model: [batch, length, hidden] of a layer counted from 1; hidden state 0 is the embeddings."""

    kind: Literal["hidden", "query", "key", "value"]
    layer: int


@dataclass(frozen=True)
class Shape:
    """What distillation must know of a model's shape."""

    layers: int  # of a transformer; 0 where another encoder stands in their place
    hidden_size: int
    heads: tuple[int, ...]  # [layers]
    attention: tuple[int, ...]  # [layers] width of queries, keys and values

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> Shape:
        """Read the shape from a `config.json` mapping."""
        family = family_of(config)
        widths = [] if Structure.from_config(config).other_encoder else layer_widths(config)
        return cls(
            layers=len(widths),
            hidden_size=family.hidden_size(config),
            heads=tuple(width.heads for width in widths),
            attention=tuple(width.attention for width in widths),
        )
