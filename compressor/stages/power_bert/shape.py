"""What `power_bert` makes of a model, from `config.json` mappings alone: light enough for `plan`."""

from __future__ import annotations

import dataclasses
from typing import Any

from compressor.config.run import TaskName
from compressor.models.families import family_of
from compressor.models.structure import LengthAdaptive, Structure, with_structure
from compressor.stages.length_adaptive.settings import LengthAdaptiveSettings
from compressor.stages.length_adaptive.shape import structure_of
from compressor.stages.power_bert.settings import PowerBertSettings


def shape(config: dict[str, Any], teacher: dict[str, Any], settings: PowerBertSettings) -> dict[str, Any]:
    """What `config.json` will say after the stage, but for how many tokens the layers will keep: that is learned."""
    before = Structure.from_config(config)
    adaptive = all_kept(settings, family_of(config).layer_count(config), before=before.length_adaptive)
    return with_structure(config, dataclasses.replace(before, length_adaptive=adaptive))


def all_kept(
    settings: PowerBertSettings,
    layers: int,
    task: TaskName = "question-answering",
    before: LengthAdaptive | None = None,
) -> LengthAdaptive:
    """The structure before anything is learned: every token stays.

    A model that drops tokens already was trained for one significance and a minimum: it keeps both, but for a minimum
    that the settings give.
    """
    usual = LengthAdaptiveSettings() if before is None else before
    wishes = LengthAdaptiveSettings(minimum=settings.minimum or usual.minimum, significance=usual.significance)
    return structure_of(wishes, layers, task)
