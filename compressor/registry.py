"""Things that are looked up by name and imported only when used: stages, passes."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import TypeVar

from compressor.errors import UnknownNameError

T = TypeVar("T")


def load(target: str) -> object:
    """Import what "module:attribute" names."""
    module, _, name = target.partition(":")
    return getattr(importlib.import_module(module), name)


def look_up(kind: str, name: str, entries: Mapping[str, T], where: str = "") -> T:
    """The entry of that name; raises `UnknownNameError` with the nearest one."""
    if name not in entries:
        raise UnknownNameError(kind, name, entries, where)
    return entries[name]
