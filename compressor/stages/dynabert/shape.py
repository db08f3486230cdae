"""What `dynabert` notes in `config.json`: light enough for `plan`."""

from __future__ import annotations

from typing import Any

from compressor.config.schema import to_mapping
from compressor.models.elastic import ELASTIC, Sizes, sizes_of
from compressor.stages.distill.parts import Shape
from compressor.stages.dynabert.lessons import lessons
from compressor.stages.dynabert.settings import DynabertSettings
from compressor.stages.dynabert.sizes import check_left


def shape(config: dict[str, Any], teacher: dict[str, Any], settings: DynabertSettings) -> dict[str, Any]:
    """What `config.json` will say after the stage.

    Raises:
        RequestError: The model cannot learn from its guide like this, or a size leaves nothing of it.
    """
    own = Shape.of(config)
    check_left(settings.widths, settings.depths, config)
    lessons(settings, own, own if sizes_of(config) else Shape.of(teacher))
    return {**config, ELASTIC: sizes_entry(settings)}


def sizes_entry(settings: DynabertSettings) -> dict[str, Any]:
    """The sizes that the stage trains, as they stand in `config.json`."""
    return to_mapping(Sizes(widths=settings.widths, depths=settings.depths))
