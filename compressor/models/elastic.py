"""The sizes that one model serves, as multipliers of its width and depth (Hou et al. 2020). Imports nothing heavy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from compressor.config.schema import Ratio, parse, settings
from compressor.errors import CheckpointError, RequestError

ELASTIC = "elastic"
"""Entry of `config.json` that says at which sizes a model can be cut. Stock transformers loads the model as it is."""


@settings
class Sizes:
    """Multipliers that a model was trained for."""

    widths: list[Ratio]
    depths: list[Ratio]


def sizes_of(config: Mapping[str, Any]) -> Sizes | None:
    """The sizes that a model serves beside its own; None: it was never trained for others.

    Raises:
        CheckpointError: The entry is not one of ours.
    """
    entry = config.get(ELASTIC)
    if entry is None:
        return None
    if not isinstance(entry, Mapping):
        raise CheckpointError(f"config.json: '{ELASTIC}' must be a mapping, not {entry!r:.80}.")
    try:
        return parse(Sizes, entry, where=f"config.json: {ELASTIC}")
    except RequestError as error:
        raise CheckpointError(str(error)) from error


def without_sizes(config: Mapping[str, Any]) -> dict[str, Any]:
    """The `config.json` of a model that was changed so that it serves its own size alone."""
    return {key: value for key, value in config.items() if key != ELASTIC}
