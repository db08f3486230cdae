"""The command line's `key=value`, `+key=value` and `~key`, parsed by Hydra's grammar."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException

from compressor.errors import RequestError
from compressor.request.folders import GROUPS, own_folder


@dataclass(frozen=True)
class Overrides:
    """What the command line asks for: choices, values (as Hydra reads them), removals and the user's own folders."""

    choices: dict[str, str] = field(default_factory=dict)
    values: dict[str, str] = field(default_factory=dict)  # key -> "key=value" text
    removals: tuple[str, ...] = ()
    own_folders: tuple[Path, ...] = ()

    def names(self, key: str) -> bool:
        """Whether the command line sets `key`, or something inside it."""
        return any(given == key or given.startswith(f"{key}.") for given in self.values)


def parse_overrides(arguments: Sequence[str], config_dirs: Sequence[str] = ()) -> Overrides:
    """Sort overrides by kind; raises `RequestError` for one that is not understood."""
    choices: dict[str, str] = {}
    values: dict[str, str] = {}
    removals: list[str] = []
    folders = [own_folder(place) for place in config_dirs]
    for override in _parse(arguments):
        key = override.key_or_group
        if override.is_sweep_override():
            raise RequestError(f"'{override.input_line}' has several values: add -m to run one after the other.")
        if override.is_delete():
            if key in GROUPS:
                raise RequestError(f"'{override.input_line}': a run cannot be without a {key}.")
            removals.append(key)
        elif key == "hydra.searchpath":
            places: Any = override.value()
            folders += [own_folder(str(place)) for place in (places if isinstance(places, list) else [places])]
        elif key in GROUPS:
            choices[key] = str(override.value())
        else:
            values[key] = str(override.input_line).lstrip("+")
    return Overrides(choices, values, tuple(removals), tuple(folders))


def sweep(arguments: Sequence[str]) -> list[list[str]]:
    """Every combination of arguments with several values (`seed=1,2`), the last one running fastest."""
    columns: list[list[str]] = []
    for override in _parse(arguments):
        if override.is_sweep_override():
            columns.append([f"{override.get_key_element()}={value}" for value in override.sweep_string_iterator()])
        else:
            columns.append([str(override.input_line)])
    return [list(row) for row in itertools.product(*columns)]


def _parse(arguments: Sequence[str]) -> list[Override]:
    for argument in arguments:
        if "=" not in argument and not argument.startswith("~"):
            raise RequestError(f"'{argument}' is not understood: settings are given as key=value, removals as ~key.")
    try:
        return list(OverridesParser.create().parse_overrides(overrides=list(arguments)))
    except HydraException as error:
        raise RequestError(f"the command line is not understood: {str(error).splitlines()[0]}.") from error
