"""The shape that `drop_layers` leaves, from `config.json` mappings alone: light enough for `plan`."""

from __future__ import annotations

from typing import Any

from compressor.errors import RequestError
from compressor.models.families import family_of
from compressor.models.structure import Structure, with_structure
from compressor.stages.drop_layers.selection import kept_layers
from compressor.stages.drop_layers.settings import DropLayersSettings


def shape(config: dict[str, Any], teacher: dict[str, Any], settings: DropLayersSettings) -> dict[str, Any]:
    """What `config.json` will say after the stage.

    With `keep: importance` as if the layers were evenly spaced; one of those that keep two texts apart is among them.

    Raises:
        RequestError: The model cannot keep these layers, has exits where importance is measured, or none that it could
            stop at afterwards; or no layer is left that keeps two texts apart, or none that sees both.
    """
    family = family_of(config)
    kept = kept_layers(settings, family.layer_count(config))
    before = Structure.from_config(config)
    if settings.keep == "importance" and before.split_layers is not None:
        kept = _of_both(kept, before.split_layers.layers)
    changed = {**config, family.layers_key: len(kept)}
    structure = before.with_layers(kept)
    if settings.keep == "importance" and structure.adaptive_depth is not None:
        raise RequestError(
            "drop_layers: `keep: importance` asks the last layer alone and cannot judge a model with exits: put "
            "adaptive_depth behind it, or list the layers."
        )
    refusal = structure.adaptive_depth.impossible(len(kept)) if structure.adaptive_depth else None
    if refusal:
        raise RequestError(f"drop_layers: {refusal} Keep more layers, or put adaptive_depth behind.")
    split = structure.split_layers
    if split is not None and not 0 < split.layers < len(kept):
        raise RequestError(
            f"drop_layers: of the {len(kept)} layers that are left, {split.layers} would keep two texts apart (stage "
            "deformer), and at least one must, and one must see both: keep others, or put deformer behind."
        )
    return with_structure(changed, structure)


def _of_both(kept: list[int], apart: int) -> list[int]:
    """The layers with at least one of the `apart` lowest, where several stay; the last one is above in any case."""
    return [apart - 1, *kept[1:]] if len(kept) > 1 and kept[0] >= apart else kept
