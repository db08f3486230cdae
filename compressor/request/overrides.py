"""The command line's `key=value`, `+key=value` and `~key`, parsed by Hydra's grammar."""

from __future__ import annotations

import itertools
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException

from compressor.errors import RequestError, UnknownNameError
from compressor.request.folders import GROUPS, own_folder

_SEARCH_PATH = "hydra.searchpath"
_HOME = re.compile(r"(\+{0,2}[^=]+)=(~[^,\"']*)")


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
            line = str(override.input_line)
            raise RequestError(
                f"'{line}' has several values: add -m to run one after the other; {_quoting(line, 'a comma')}."
            )
        if override.package is not None or key.replace("/", ".").startswith("hydra.") and key != _SEARCH_PATH:
            raise UnknownNameError("key", str(override.get_key_element()), [_SEARCH_PATH, *GROUPS], "the request")
        if override.is_delete():
            if key in GROUPS:
                raise RequestError(f"'{override.input_line}': a run cannot be without a {key}.")
            removals.append(key)
        elif key == _SEARCH_PATH:
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


def value_of(setting: str) -> Any:
    """The value of `key=value`, as Hydra's grammar reads it; raises `RequestError`."""
    return _parse_one(setting).value()


def path_of(text: str) -> str:
    """A path behind `key=` where no setting is looked for: as it is, or in the quotes that a setting would need."""
    in_quotes = len(text) > 1 and text[0] == text[-1] and text[0] in "\"'"
    return str(value_of(f"path={text}")) if in_quotes else text


def setting(key: str, value: str) -> str:
    """`key=value` that gives this very text, in quotes where the grammar would read it otherwise."""
    plain = f"{key}={value}"
    try:
        if value_of(plain) == value:
            return plain
    except RequestError:
        pass
    return _quoted(key, value)


def _parse(arguments: Sequence[str]) -> list[Override]:
    for argument in arguments:
        if "=" not in argument and not argument.startswith("~"):
            raise RequestError(f"'{argument}' is not understood: settings are given as key=value, removals as ~key.")
    return [_parse_one(argument) for argument in arguments]


def _parse_one(argument: str) -> Override:
    home = _HOME.fullmatch(argument)  # Hydra's grammar knows no `~`; the shell leaves one after `=` to us
    line = f'{home[1]}="{home[2]}"' if home else argument
    try:
        return OverridesParser.create().parse_overrides(overrides=[line])[0]
    except HydraException as error:
        reason = str(error).splitlines()[0]
        if reason.startswith("Lexer"):
            reason = "it has a sign that Hydra's grammar does not know"
        raise RequestError(
            f"the command line is not understood at '{argument}': {reason}; {_quoting(argument, 'a sign')}."
        ) from error


def _quoting(argument: str, what: str) -> str:
    """How to give a value as it is, for the shell and for Hydra's grammar."""
    key, _, value = argument.partition("=")
    return f"{what} that belongs to the value needs quotes: {shlex.quote(_quoted(key, value))}"


def _quoted(key: str, value: str) -> str:
    escaped = re.sub(r'(\\*)("|$)', lambda found: found[1] * 2 + found[2].replace('"', '\\"'), value)
    return f'{key}="{escaped}"'
