"""Which layers stay. Pure, and light enough for `plan`."""

from __future__ import annotations

from compressor.errors import RequestError
from compressor.stages.drop_layers.settings import DropLayersSettings


def kept_layers(settings: DropLayersSettings, total: int) -> list[int]:
    """Indices, from 0, of the layers that stay of `total`.

    every_other: evenly spaced, the last one among them (of 12 layers 1, 3, 5, 7, 9, 11: student layer i is teacher
    layer 2i as in TinyBERT). importance: how many is known, which ones the data decide; they are given here as
    evenly spaced. first, last: the bottom or the top ones. both_ends: half from the bottom, half from the
    top, the bottom getting the odd one (Sajjad et al. 2020, "symmetric dropping").

    Raises:
        RequestError: More layers than there are, or a list that is empty, out of range, out of order or contradicts
            `layers`.
    """
    if isinstance(settings.keep, list):
        return _listed(settings.keep, settings.layers, total)
    number = settings.layers or -(-total // 2)
    if number > total:
        raise RequestError(f"drop_layers: cannot keep {number} layers of a model that has {total}.")
    if settings.keep == "first":
        return list(range(number))
    if settings.keep == "last":
        return list(range(total - number, total))
    if settings.keep == "both_ends":
        top = number // 2
        return [*range(number - top), *range(total - top, total)]
    return evenly_spaced(number, total)


def evenly_spaced(number: int, total: int) -> list[int]:
    """Indices of `number` of `total` layers, spread evenly, the last one among them."""
    return [(index + 1) * total // number - 1 for index in range(number)]


def _listed(keep: list[int], layers: int | None, total: int) -> list[int]:
    if not keep:
        raise RequestError("drop_layers: `keep` lists no layer; at least one must stay.")
    if layers is not None and layers != len(keep):
        raise RequestError(f"drop_layers: `keep` lists {len(keep)} layers but `layers` is {layers}: leave one out.")
    if any(after <= before for before, after in zip(keep, keep[1:], strict=False)):
        raise RequestError(f"drop_layers: the layers {keep} must be listed once each, from the bottom to the top.")
    if keep[-1] >= total:
        raise RequestError(f"drop_layers: there is no layer {keep[-1]}: the model has {total}, counted from 0.")
    return list(keep)
