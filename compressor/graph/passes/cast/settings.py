"""Settings of `cast`; imports nothing heavy."""

from __future__ import annotations

import dataclasses
from typing import Literal

from compressor.config.schema import settings


@settings
class CastSettings:
    """Float16 weights and arithmetic; `exclude` holds patterns of node names (`*`, `?`) that stay float32."""

    to: Literal["float16"] = "float16"
    exclude: list[str] = dataclasses.field(default_factory=list)
