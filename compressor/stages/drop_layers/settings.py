"""Settings of the stage `drop_layers`."""

from __future__ import annotations

from typing import Literal

from compressor.config.schema import Count, Whole, settings

Pattern = Literal["every_other", "first", "last", "both_ends"]


@settings
class DropLayersSettings:
    """Which encoder layers stay."""

    keep: Pattern | list[Whole] = "every_other"  # or the layers themselves, counted from 0
    layers: Count | None = None  # how many stay; None: half of them, rounded up (or as many as are listed)
