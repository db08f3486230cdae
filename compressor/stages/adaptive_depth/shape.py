"""What `adaptive_depth` makes of a model, from `config.json` mappings alone: light enough for `plan`."""

from __future__ import annotations

import dataclasses
from typing import Any

from compressor.config.run import TaskName
from compressor.errors import RequestError
from compressor.models.families import family_of
from compressor.models.structure import AdaptiveDepth, DepthMethod, Structure, with_structure
from compressor.stages.adaptive_depth.settings import DEFAULTS, HEADS, AdaptiveDepthSettings


def shape(config: dict[str, Any], teacher: dict[str, Any], settings: AdaptiveDepthSettings) -> dict[str, Any]:
    """What `config.json` will say after the stage, but for what depends on the task alone.

    Raises:
        RequestError: A model of one layer, with exits of another kind or elsewhere, exits where no layer ends, or a
            dial that is set where it cannot be, or so that no input could ever stop.
    """
    layers = family_of(config).layer_count(config)
    if layers < 2:
        raise RequestError("adaptive_depth: the model has one layer, and there is no earlier one to stop after.")
    exits = settings.exits
    if exits is not None and (not exits or exits != sorted(set(exits)) or exits[-1] >= layers):
        raise RequestError(
            f"adaptive_depth: exits = {exits} is not possible: give layers from 1 to {layers - 1} in order, each once "
            "(the last of all has the model's own head)."
        )
    before, asked = Structure.from_config(config), structure_of(settings, layers)
    refusal = before.adaptive_depth.refusal(asked) if before.adaptive_depth else None
    refusal = refusal or asked.impossible(layers)
    if refusal:
        raise RequestError(f"adaptive_depth: {refusal}")
    return with_structure(config, dataclasses.replace(before, adaptive_depth=asked))


_OWN: dict[str, DepthMethod] = {
    **dict.fromkeys(("tau", "ponder", "exits_first", "exit_loss", "bound"), "dact"),
    "tolerance": "pabee",
}
"""Settings that one method alone has."""


def check_method(settings: AdaptiveDepthSettings, task: TaskName) -> None:
    """Raise `RequestError` for a method that the task cannot have, and for settings that only another method has.

    Only PABEE compares answers without classes. Another method's setting may stand at its default.
    """
    usual = AdaptiveDepthSettings()
    for name, method in _OWN.items():
        if method != settings.method and getattr(settings, name) != getattr(usual, name):
            raise RequestError(
                f"adaptive_depth: {name} = {getattr(settings, name)} would change nothing: {name} is a setting of "
                f"method: {method}, and this is {settings.method}."
            )
    if task == "text-regression" and settings.method != "pabee":
        raise RequestError(
            f"adaptive_depth: {settings.method} needs classes, of which it weighs the probabilities, and {task} has a "
            "number: use method: pabee."
        )


def structure_of(settings: AdaptiveDepthSettings, layers: int) -> AdaptiveDepth:
    """The structure that the stage gives a model of so many layers, but for the task's threshold of labels.

    Where no patience is asked for, it is one that the exits can reach.
    """
    asked = AdaptiveDepth(
        method=settings.method,
        setting=DEFAULTS[settings.method] if settings.setting is None else settings.setting,
        head=settings.head or HEADS[settings.method],
        summary=settings.summary,
        bound=settings.bound,
        tolerance=settings.tolerance,
        exits=settings.exits,
    )
    if settings.method == "pabee" and settings.setting is None:
        most = max(1, len(asked.exits_of(layers)) - 1)
        return dataclasses.replace(asked, setting=min(asked.setting, float(most)))
    return asked
