"""The shape that `prune_widths` leaves, from `config.json` mappings alone: light enough for `plan`."""

from __future__ import annotations

import dataclasses
from typing import Any

from compressor.errors import RequestError
from compressor.models.families import family_of
from compressor.models.kinds.widths import even_widths, with_hidden_size, with_widths
from compressor.models.structure import Structure, Widths, with_structure
from compressor.stages.prune_widths.settings import PruneWidthsSettings
from compressor.stages.prune_widths.targets import Targets, present, spread, targets


def shape(config: dict[str, Any], teacher: dict[str, Any], settings: PruneWidthsSettings) -> dict[str, Any]:
    """What `config.json` will say after the stage; with `uneven`, what each layer keeps is foretold as unlike.

    Raises:
        RequestError: The model cannot keep as much, or nothing would be left of it.
    """
    left = targets(config, settings)
    layers = family_of(config).layer_count(config)
    now = even_widths(config)
    heads, units = spread(left.heads, layers), spread(left.units, layers)
    if settings.uneven:
        heads = heads if isinstance(left.heads, list) else _unlike(heads, now.heads[0], settings.minimum_heads)
        units = units if isinstance(left.units, list) else _unlike(units, now.feed_forward[0], settings.multiple_of)
    widths = Widths(heads=heads, feed_forward=units, head_size=now.head_size)
    changed = with_widths(config, widths)
    if left.hidden != family_of(config).hidden_size(config):
        if Structure.from_config(config).embedding_rank is not None:
            raise RequestError(
                "prune_widths: `hidden` cannot narrow factorized embeddings: put it before factorize_embeddings."
            )
        _check_projection(config, left, settings.steps)
        changed = with_hidden_size(changed, left.hidden)
    if settings.uneven:
        changed = with_structure(changed, dataclasses.replace(Structure.from_config(changed), widths=widths))
    return changed


def _unlike(numbers: list[int], most: int, least: int) -> list[int]:
    """The same in all, with one moved from the last layer to the first where that can be.

    What needs layers of one width, or a certain width of the last one, is then refused before any work, and not behind
    a training. Not where the last layer would have fewer than `least` or two: what else can be cut of it is not known.
    """
    if len(numbers) < 2 or numbers[-1] <= max(least, 2) or numbers[0] >= most:
        return numbers
    return [numbers[0] + 1, *numbers[1:-1], numbers[-1] - 1]


def _check_projection(config: dict[str, Any], left: Targets, steps: int) -> None:
    """Raise `RequestError` where some round would leave the width of the embeddings, behind which nothing projects."""
    family, start = family_of(config), present(config)
    own = family.embedding_size(config)
    on_the_way = [start.towards(left, step, steps).hidden for step in range(1, steps + 1)]
    if own != start.hidden and own in on_the_way:
        raise RequestError(
            f"prune_widths: at a hidden width of {own}, that of the embeddings, the model has no projection between "
            f"them{'' if left.hidden == own else f', and {steps} steps pass through it'}: take another `hidden`"
            f"{'' if steps == 1 else ' or other `steps`'}."
        )
