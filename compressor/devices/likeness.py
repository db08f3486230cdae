"""Profiles that are like another one: `like: NAME` and the lines that differ."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from compressor.errors import RequestError, UnknownNameError

LIKE = "like"
_OWN = ("name",)
"""Settings that are never taken from another profile."""


def filled_in(name: str, files: Mapping[str, Path], read: Callable[[Path], Mapping[str, Any]]) -> dict[str, Any]:
    """The settings of the profile `name`, with those of the one that it is like under its own lines.

    Mappings (`identity`) are laid over each other key by key, anything else is replaced whole; null takes a line away.
    Raises `UnknownNameError` for a name that does not exist and `RequestError` for profiles that are like each other.
    """
    chain: list[str] = []
    layers: list[Mapping[str, Any]] = []
    current: str | None = name
    while current is not None:
        chain.append(current)
        if current in chain[:-1]:
            raise RequestError(f"{files[name]}: 'like' goes round in a circle: {' -> '.join(chain)}.")
        values = read(files[current])
        layers.append(values)
        current = _named(values.get(LIKE), files, files[current])
    merged: dict[str, Any] = {}
    for values in reversed(layers):
        kept = {key: value for key, value in merged.items() if key not in _OWN}
        merged = {**kept, **{key: _laid_over(kept.get(key), value) for key, value in values.items() if key != LIKE}}
    return merged


def _named(like: Any, files: Mapping[str, Path], where: Path) -> str | None:
    if like is None:
        return None
    if not isinstance(like, str):
        raise RequestError(f"{where}: 'like' = {like!r} is not possible: give the name of a profile.")
    if like not in files:
        raise UnknownNameError("device", like, files, f"{where}: like")
    return like


def _laid_over(below: Any, above: Any) -> Any:
    return {**below, **above} if isinstance(below, Mapping) and isinstance(above, Mapping) else above
