"""What `qat` makes of a model, from `config.json` mappings alone: light enough for `plan`."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from compressor.models.structure import Quantizers, Structure, with_structure
from compressor.stages.distill.matching import match
from compressor.stages.distill.parts import Shape
from compressor.stages.qat.settings import QatSettings


def structure_of(config: Mapping[str, Any], settings: QatSettings) -> Quantizers:
    """The structure that the stage gives a model; one that is smoothed already stays so."""
    before = Structure.from_config(config).quantizers
    smoothed = settings.smooth if before is None else before.smoothed
    return Quantizers(weight_bits=settings.weight_bits, smoothed=smoothed)


def shape(config: dict[str, Any], teacher: dict[str, Any], settings: QatSettings) -> dict[str, Any]:
    """What `config.json` will say after the stage; raises `RequestError` for losses that these models cannot have."""
    losses = settings.losses()
    if losses is not None:
        match(losses, Shape.of(config), Shape.of(teacher))
    kind = structure_of(config, settings)
    return with_structure(config, dataclasses.replace(Structure.from_config(config), quantizers=kind))
