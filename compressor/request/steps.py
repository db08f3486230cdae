"""Stages and passes of a recipe: looked up, put in order, their settings checked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from compressor.config.schema import parse
from compressor.errors import RequestError, UnknownNameError

TEACHER = "teacher"
"""Key of the stage that fine-tunes a teacher without a head."""
RESERVED = (TEACHER, "artifact")
"""Rows of the stage table that are always there, so that no stage can have such a key."""


class Spec(Protocol):
    """What stages and passes have in common."""

    @property
    def name(self) -> str:
        """Its name in the registry."""

    def load_settings(self) -> type:
        """Its settings dataclass."""


S = TypeVar("S", bound=Spec)


@dataclass(frozen=True)
class Entry(Generic[S]):
    """One stage or pass of a recipe under its key, with checked settings."""

    key: str
    spec: S
    settings: Any


def resolve_steps(
    kind: str,
    entries: Mapping[str, Mapping[str, Any]],
    look_up: Callable[[str, str], S],
    where: Callable[[str], str],
) -> tuple[Entry[S], ...]:
    """Turn a recipe's `stages` or `passes` into entries in order.

    `kind` is "stage" or "pass"; `where(key)` says for errors which key of which file is meant.
    Raises `UnknownNameError` and `RequestError`.
    """
    resolved = []
    for key in _in_order(kind, entries, where):
        values = dict(entries[key])
        values.pop("after", None)
        if kind == "stage" and key in RESERVED:
            raise RequestError(f"{where(key)}: '{key}' is the name of a row of the result: give the stage another key.")
        name = values.pop(kind, key)
        if not isinstance(name, str):
            raise RequestError(f"{where(key)}: '{kind}' = {name!r} is not possible: give the name of a {kind}.")
        spec = look_up(name, where(key))
        resolved.append(Entry(key, spec, parse(spec.load_settings(), values, where=where(key))))
    return tuple(resolved)


def _in_order(kind: str, entries: Mapping[str, Mapping[str, Any]], where: Callable[[str], str]) -> list[str]:
    """Keys as written; an entry with `after: KEY` moves behind that key."""
    order = [key for key, values in entries.items() if values.get("after") is None]
    waiting = [key for key in entries if key not in order]
    for key in waiting:
        target = entries[key]["after"]
        if not isinstance(target, str) or target not in entries:
            raise UnknownNameError(f"{kind} key", str(target), entries, f"{where(key)}: after")
    while waiting:
        ready = [key for key in waiting if entries[key]["after"] in order]
        if not ready:
            raise RequestError(f"{where(waiting[0])}: 'after' goes round in a circle.")
        for key in reversed(ready):  # two entries after the same one stay in the order in which they were written
            order.insert(order.index(entries[key]["after"]) + 1, key)
            waiting.remove(key)
    return order
