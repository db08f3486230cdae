"""Settings of the stage `take_size`."""

from __future__ import annotations

from compressor.config.schema import Ratio, settings


@settings
class TakeSizeSettings:
    """Which of the sizes that the model was trained for."""

    width: Ratio = 1.0  # multiplier of heads and feed-forward units
    depth: Ratio = 1.0  # multiplier of layers
