"""The shape that `take_size` leaves, from `config.json` mappings alone: light enough for `plan`."""

from __future__ import annotations

from typing import Any

from compressor.errors import RequestError
from compressor.models.elastic import sizes_of
from compressor.models.families import family_of
from compressor.models.kinds.widths import with_widths
from compressor.models.structure import Widths
from compressor.stages.drop_layers.settings import DropLayersSettings
from compressor.stages.drop_layers.shape import shape as shape_of_layers
from compressor.stages.dynabert.sizes import layers_at, widths_at
from compressor.stages.take_size.settings import TakeSizeSettings


def shape(config: dict[str, Any], teacher: dict[str, Any], settings: TakeSizeSettings) -> dict[str, Any]:
    """What `config.json` will say after the stage.

    Raises:
        RequestError: The model was not trained for this size.
    """
    check_size(config, settings)
    widths = widths_at(settings.width, config)
    narrower = with_widths(
        config,
        Widths(
            heads=[width.heads for width in widths],
            feed_forward=[width.feed_forward for width in widths],
            head_size=widths[0].head_size,
        ),
    )
    return shape_of_layers(narrower, teacher, layers_left(config, settings))


def layers_left(config: dict[str, Any], settings: TakeSizeSettings) -> DropLayersSettings:
    """The layers that stay, as `drop_layers` is told."""
    return DropLayersSettings(keep=layers_at(settings.depth, family_of(config).layer_count(config)))


def check_size(config: dict[str, Any], settings: TakeSizeSettings) -> None:
    """Raise `RequestError` for a size that the model was not trained for."""
    known = sizes_of(config)
    if known is None:
        raise RequestError(
            "take_size: the model was trained for one size alone: put the stage dynabert before it, and what else "
            "trains or changes the model behind."
        )
    for name, wanted, trained in (
        ("width", settings.width, known.widths),
        ("depth", settings.depth, known.depths),
    ):
        if wanted not in trained:
            listed = ", ".join(f"{size:g}" for size in sorted(trained))
            raise RequestError(f"take_size: {name} = {wanted:g} was not trained; the model serves {listed}.")
