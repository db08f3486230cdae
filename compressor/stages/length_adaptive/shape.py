"""What `length_adaptive` makes of a model, from `config.json` mappings alone: light enough for `plan`."""

from __future__ import annotations

import dataclasses
from typing import Any

from compressor.config.run import TEXT_TASKS, TaskName
from compressor.errors import RequestError
from compressor.models.families import family_of
from compressor.models.structure import LengthAdaptive, Structure, with_structure
from compressor.stages.length_adaptive.settings import RANKING, LengthAdaptiveSettings


def shape(config: dict[str, Any], teacher: dict[str, Any], settings: LengthAdaptiveSettings) -> dict[str, Any]:
    """What `config.json` will say after the stage, but for what depends on the task alone."""
    layers = family_of(config).layer_count(config)
    drop_probabilities(settings, layers)
    before = Structure.from_config(config)
    after = structure_of(settings, layers, before=before.length_adaptive)
    return with_structure(config, dataclasses.replace(before, length_adaptive=after))


def structure_of(
    settings: LengthAdaptiveSettings,
    layers: int,
    task: TaskName = "question-answering",
    before: LengthAdaptive | None = None,
) -> LengthAdaptive:
    """The structure that the stage gives a model: everything is kept by default, or what it kept `before`.

    Token and span tasks restore dropped tokens; those with one answer a text always keep the token at position 0
    instead.
    """
    by_first = task in TEXT_TASKS
    return LengthAdaptive(
        keep=[1.0] * layers if before is None else before.keep,
        minimum=settings.minimum,
        restore=not by_first,
        protect_first=by_first,
        significance=settings.significance,
    )


def ranking_weight(settings: LengthAdaptiveSettings, task: TaskName) -> float:
    """How much the ranking of tokens counts in training.

    Raises:
        RequestError: It is asked for where nothing can be ranked.
    """
    possible = task == "question-answering" and settings.significance == "first"
    if settings.ranking and not possible:
        raise RequestError("length_adaptive: ranking needs question answering and significance: first.")
    if settings.ranking is None:
        return RANKING if possible else 0.0
    return settings.ranking


def drop_probabilities(settings: LengthAdaptiveSettings, layers: int) -> list[float]:
    """`length_drop` for each layer.

    Raises:
        RequestError: It is a list that has not one entry a layer.
    """
    drop = settings.length_drop
    if not isinstance(drop, list):
        return [drop] * layers
    if len(drop) != layers:
        raise RequestError(f"length_drop has {len(drop)} entries, the model has {layers} layers: give one a layer.")
    return drop
