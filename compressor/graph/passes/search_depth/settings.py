"""Settings of `search_depth`; imports nothing heavy."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

from pydantic import Field

from compressor.config.schema import Count, NonNegative, settings
from compressor.errors import RequestError
from compressor.models.structure import AdaptiveDepth, DepthMethod, refused_setting

CANDIDATES: dict[DepthMethod, tuple[float, ...]] = {
    "dact": (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95),
    "deebert": (0.005, 0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.45, 0.6, 0.8, 1.0, 1.5, 2.0),
    "pabee": (1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0),
}
"""Margins, entropies in nats and patiences that are tried where none are given."""


@settings
class SearchDepthSettings:
    """The depth dial's default: the value of fewest layers that loses at most `max_drop` to a run of all layers."""

    max_drop: NonNegative = 0.5  # points of the primary metric below the same graph with all layers run
    errors: NonNegative = 1.0  # standard errors of that loss which have to fit in too; 0: as it was measured
    candidates: Annotated[list[NonNegative], Field(min_length=1)] | None = (
        None  # values of the dial that are tried; None: some of the method's range
    )
    samples: Count | None = None  # examples of the search part that are used; None: all
    batch_size: Count = 8  # texts a run; fewer where their lengths differ


def values_to_try(settings: SearchDepthSettings, depth: AdaptiveDepth, layers: int) -> list[float]:
    """The values that are tried, in order; of the method's own those at which a model of so many layers could stop.

    Raises:
        RequestError: A candidate of the recipe is out of range, or no layer could stop there.
    """
    values = sorted(set(settings.candidates or CANDIDATES[depth.method]))
    reachable = []
    for value in values:
        refusal = refused_setting(depth.method, value) or replace(depth, setting=value).impossible(layers)
        if settings.candidates and refusal:
            raise RequestError(f"search_depth: candidates: {refusal}")
        if not refusal:
            reachable.append(value)
    return reachable
