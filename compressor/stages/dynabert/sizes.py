"""What a multiplier leaves of a model's layers, heads and units. Imports nothing heavy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from compressor.errors import RequestError
from compressor.models.kinds.widths import LayerWidth, layer_widths
from compressor.stages.drop_layers.selection import evenly_spaced


def layers_at(depth: float, layers: int) -> list[int]:
    """Indices of the layers that a depth multiplier leaves: evenly spaced, the last one among them.

    Hou et al. 2020, section 2.2: depth d, from 1, goes where d + 1 is a multiple of 1 / (1 - depth).
    """
    return evenly_spaced(max(1, _nearest(depth * layers)), layers)


def widths_at(width: float, config: Mapping[str, Any]) -> list[LayerWidth]:
    """The heads and units that a width multiplier leaves of each layer, at least one of each; they are the first."""
    return [
        LayerWidth(
            heads=max(1, _nearest(width * own.heads)),
            head_size=own.head_size,
            feed_forward=max(1, _nearest(width * own.feed_forward)),
        )
        for own in layer_widths(config)
    ]


def check_left(widths: Sequence[float], depths: Sequence[float], config: Mapping[str, Any]) -> None:
    """Raise `RequestError` for a multiplier at which no layer has a head or units, or there is none, by rounding."""
    layers = layer_widths(config)
    for width in widths:
        if not any(_nearest(width * own.heads) for own in layers) or not any(
            _nearest(width * own.feed_forward) for own in layers
        ):
            raise RequestError(f"dynabert: a width of {width:g} leaves no head or no unit of any layer: give more.")
    for depth in depths:
        if not _nearest(depth * len(layers)):
            raise RequestError(f"dynabert: a depth of {depth:g} leaves none of {len(layers)} layers: give more.")


def _nearest(number: float) -> int:
    return int(number + 0.5)
