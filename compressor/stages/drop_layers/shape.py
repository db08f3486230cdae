"""The shape that `drop_layers` leaves, from `config.json` mappings alone: light enough for `plan`."""

from __future__ import annotations

from typing import Any

from compressor.models.families import family_of
from compressor.models.structure import Structure
from compressor.stages.drop_layers.selection import kept_layers
from compressor.stages.drop_layers.settings import DropLayersSettings


def shape(config: dict[str, Any], teacher: dict[str, Any], settings: DropLayersSettings) -> dict[str, Any]:
    """What `config.json` will say after the stage."""
    family = family_of(config)
    kept = kept_layers(settings, family.layer_count(config))
    changed = {**config, family.layers_key: len(kept)}
    structure = Structure.from_config(config).with_layers(kept)
    if not structure.is_stock:
        changed["compressor"] = {**config["compressor"], "structure": structure.to_config()}
    return changed
