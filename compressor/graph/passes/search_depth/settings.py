"""Settings of `search_depth`; imports nothing heavy."""

from __future__ import annotations

from compressor.config.schema import Count, NonNegative, settings
from compressor.models.structure import DepthMethod

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
    candidates: list[NonNegative] | None = None  # values of the dial that are tried; None: some of the method's range
    samples: Count | None = None  # examples of the search part that are used; None: all
    batch_size: Count = 8  # texts a run; fewer where their lengths differ
