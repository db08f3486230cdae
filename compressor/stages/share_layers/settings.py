"""Settings of the stage `share_layers`."""

from __future__ import annotations

from typing import Literal

from compressor.config.schema import Count, settings


@settings
class ShareLayersSettings:
    """Which layers become one set of weights, and what it starts from."""

    groups: Literal["all", "pairs"] | Count = "all"  # all layers together, two by two, or so many groups of neighbours
    start: Literal["mean", "first"] = "mean"  # of the layers of a group
