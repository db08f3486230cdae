"""What `dynabert` notes in `config.json`: light enough for `plan`."""

from __future__ import annotations

from typing import Any

from compressor.config.schema import to_mapping
from compressor.errors import RequestError
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
    own, known = Shape.of(config), sizes_of(config)
    check_left(settings.widths, settings.depths, config)
    if known is not None:
        _check_guide(settings, known)
    lessons(settings, own, Shape.of(teacher) if known is None else own)
    return {**config, ELASTIC: sizes_entry(settings)}


def _check_guide(settings: DynabertSettings, known: Sizes) -> None:
    """Raise `RequestError` where the guide, which is the model itself at each width, was never trained for that."""
    untrained = [width for width in settings.widths if width not in known.widths]
    if untrained or 1.0 not in known.depths:
        what = f"width {untrained[0]:g}" if untrained else "its full depth"
        raise RequestError(
            f"dynabert: the model learns from itself at each width, and the dynabert before did not train it at {what} "
            f"(widths {known.widths}, depths {known.depths}): train it there too, or leave it out here."
        )


def sizes_entry(settings: DynabertSettings) -> dict[str, Any]:
    """The sizes that the stage trains, as they stand in `config.json`."""
    return to_mapping(Sizes(widths=settings.widths, depths=settings.depths))
