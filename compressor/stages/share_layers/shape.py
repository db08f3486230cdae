"""What `share_layers` makes of a model, from `config.json` mappings alone: light enough for `plan`."""

from __future__ import annotations

import dataclasses
from typing import Any

from compressor.errors import RequestError
from compressor.models.families import family_of
from compressor.models.kinds.widths import layer_widths
from compressor.models.structure import SharedLayers, Structure, with_structure
from compressor.stages.share_layers.settings import ShareLayersSettings


def shape(config: dict[str, Any], teacher: dict[str, Any], settings: ShareLayersSettings) -> dict[str, Any]:
    """What `config.json` will say after the stage.

    Raises:
        RequestError: More groups than layers, nothing to share, or layers of different widths in one group.
    """
    structure = Structure.from_config(config)
    owners = group_owners(settings, family_of(config).layer_count(config))
    known = structure.shared_layers.layers if structure.shared_layers else range(len(owners))
    for layer, owner in enumerate(known):
        if owners[layer] != owners[owner]:
            raise RequestError(
                f"share_layers: layers {owner} and {layer} share their weights already and would come into different "
                "groups: take fewer groups."
            )
    widths = layer_widths(config)
    for layer, owner in enumerate(owners):
        if widths[layer] != widths[owner]:
            raise RequestError(
                f"share_layers: layers {owner} and {layer} are of different widths and cannot share their weights: put "
                "share_layers first, or prune all layers alike."
            )
    after = dataclasses.replace(structure, shared_layers=SharedLayers(layers=owners))
    return with_structure(config, after)


def group_owners(settings: ShareLayersSettings, layers: int) -> list[int]:
    """Whose weights each layer uses: the first one's of its group of neighbours; groups differ by at most one layer.

    Raises:
        RequestError: More groups than layers, or a group for every layer.
    """
    named = {"all": 1, "pairs": -(-layers // 2)}
    count = settings.groups if isinstance(settings.groups, int) else named[settings.groups]
    if count >= layers:
        raise RequestError(f"share_layers: {count} groups of {layers} layers share nothing: take fewer groups.")
    if settings.groups == "pairs":
        return [layer - layer % 2 for layer in range(layers)]
    starts = [-(-group * layers // count) for group in range(count)]
    return [max(start for start in starts if start <= layer) for layer in range(layers)]
