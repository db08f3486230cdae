"""How much stays where, from a model's `config.json` and the settings alone: light enough for `plan`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from compressor.errors import RequestError
from compressor.models.families import family_of
from compressor.models.kinds.widths import layer_widths
from compressor.stages.prune_widths.settings import PruneWidthsSettings

Amount = list[int] | int
"""Of heads or units: the number in each layer, or (one ranking) in all layers together."""


@dataclass(frozen=True)
class Targets:
    """How many heads, units and hidden dimensions there are, or are to stay."""

    heads: Amount
    units: Amount
    hidden: int

    def towards(self, end: Targets, step: int, steps: int) -> Targets:
        """What stays after `step` of `steps` rounds on the way from here to `end`."""
        return Targets(
            _between(self.heads, end.heads, step, steps),
            _between(self.units, end.units, step, steps),
            _part_way(self.hidden, end.hidden, step, steps),
        )


def present(config: Mapping[str, Any]) -> Targets:
    """What a model has now."""
    widths = layer_widths(config)
    heads, units = [width.heads for width in widths], [width.feed_forward for width in widths]
    return Targets(heads, units, family_of(config).hidden_size(config))


def targets(config: Mapping[str, Any], settings: PruneWidthsSettings) -> Targets:
    """What the settings leave of a model.

    Raises:
        RequestError: A list that does not fit the layers, more than there is, or so little that nothing is left.
    """
    now = present(config)
    least = settings.minimum_heads
    return Targets(
        _amount("heads", settings.heads, _listed(now.heads), settings.uneven, multiple=1, least=least),
        _amount("feed_forward", settings.feed_forward, _listed(now.units), settings.uneven, settings.multiple_of, 1),
        _hidden(settings, now.hidden),
    )


def spread(amount: Amount, layers: int) -> list[int]:
    """The numbers in each layer; those of one ranking, which only the data decide, as if it took the same from all."""
    if isinstance(amount, list):
        return amount
    return [amount // layers + (layer < amount % layers) for layer in range(layers)]


def rounded(number: int, ratio: float, multiple: int) -> int:
    """The multiple nearest to a fraction of a number, the upper one of two; never more than the number."""
    return min(number, int(number * ratio / multiple + 0.5) * multiple)


def _amount(name: str, wish: float | Sequence[int], own: list[int], uneven: bool, multiple: int, least: int) -> Amount:
    if not isinstance(wish, float | int):
        return _checked_list(name, list(wish), own)
    if wish == 1:
        return own
    if uneven:
        total = rounded(sum(own), wish, multiple)
        _check_left(name, wish, total, len(own) * least * multiple, sum(own), "all layers together")
        return total
    left = [rounded(number, wish, multiple) for number in own]
    for layer, number in enumerate(left):
        _check_left(name, wish, number, max(1, min(least, own[layer])), own[layer], f"layer {layer}")
    return left


def _checked_list(name: str, wish: list[int], own: list[int]) -> list[int]:
    if len(wish) != len(own):
        raise RequestError(
            f"prune_widths: `{name}` has {len(wish)} entries, the model has {len(own)} layers: give one a layer."
        )
    for layer, (asked, there) in enumerate(zip(wish, own, strict=True)):
        if asked > there:
            raise RequestError(f"prune_widths: `{name}` asks for {asked} in layer {layer}, which has {there}.")
    return wish


def _check_left(name: str, wish: float, left: int, least: int, own: int, where: str) -> None:
    if left < least:
        raise RequestError(
            f"prune_widths: {name} = {wish:g} leaves {left} of {own} in {where}, and at least {least} must stay: "
            "give a larger fraction."
        )


def _hidden(settings: PruneWidthsSettings, own: int) -> int:
    wish = settings.hidden
    if wish > 1:
        if wish > own:
            raise RequestError(f"prune_widths: hidden = {wish:g} is more than the model has, {own}.")
        return int(wish)
    left = own if wish == 1 else rounded(own, wish, settings.multiple_of)
    _check_left("hidden", wish, left, 1, own, "the residual stream")
    return left


def _listed(amount: Amount) -> list[int]:
    return amount if isinstance(amount, list) else [amount]


def _between(start: Amount, end: Amount, step: int, steps: int) -> Amount:
    if isinstance(end, int):
        return _part_way(sum(_listed(start)), end, step, steps)
    return [_part_way(a, b, step, steps) for a, b in zip(_listed(start), end, strict=True)]


def _part_way(start: int, end: int, step: int, steps: int) -> int:
    return start - (start - end) * step // steps
