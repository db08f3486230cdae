"""What `deformer` makes of a model, from `config.json` mappings alone: light enough for `plan`."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compressor.errors import RequestError
from compressor.models.families import family_of
from compressor.models.structure import SplitLayers, Structure, with_structure
from compressor.stages.deformer.settings import DeformerSettings
from compressor.stages.distill.matching import match
from compressor.stages.distill.parts import Shape
from compressor.tasks.examples import QuestionExample

if TYPE_CHECKING:
    from compressor.data.splits import Splits

_LEAST = 3
"""Positions that a text of one word takes: of its marks and its word."""


def shape(config: dict[str, Any], teacher: dict[str, Any], settings: DeformerSettings) -> dict[str, Any]:
    """What `config.json` will say after the stage, but for the separator's id.

    Raises:
        RequestError: No layer is left that sees both texts, a second text that would begin behind the last position,
            or losses that these two models cannot have.
    """
    match(settings.losses(), Shape.of(config), Shape.of(teacher))
    return with_structure(
        config, dataclasses.replace(Structure.from_config(config), split_layers=structure_of(config, settings))
    )


def structure_of(config: Mapping[str, Any], settings: DeformerSettings) -> SplitLayers:
    """The structure that the stage gives a model; raises `RequestError` as `shape`."""
    family = family_of(config)
    total, longest = family.layer_count(config), family.longest_input(config)
    layers = total * 3 // 4 if settings.layers is None else settings.layers
    start = longest // 8 if settings.second_position is None else settings.second_position
    if not 1 <= layers < total:
        raise RequestError(
            f"deformer: {layers} of the model's {total} layers cannot keep the texts apart: give at least 1, and leave "
            "at least one that sees both."
        )
    if not _LEAST <= start <= longest - _LEAST:
        raise RequestError(
            f"deformer: second_position = {start} is not possible: the model has {longest} positions, and each text "
            f"needs {_LEAST} of them at least."
        )
    return SplitLayers(layers=layers, second_position=start)


def examine(settings: DeformerSettings, teacher: Path, data: Splits) -> None:
    """Raise `RequestError` for data in which nothing can be kept apart, before any work."""
    for name, examples in (("training", data.train), ("held-out", data.dev)):
        if examples and not any(isinstance(one, QuestionExample) or getattr(one, "pair", None) for one in examples):
            raise RequestError(
                f"deformer: no input of the {name} data is a pair of texts, so that there is nothing to keep apart: "
                "take the stage out, or give data with questions and contexts or with a second text column."
            )
