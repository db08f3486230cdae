"""One plain mapping out of `conf/config.yaml`, the chosen files and the command line, put together by Hydra."""

from __future__ import annotations

import difflib
import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import yaml
from hydra import compose as hydra_compose
from hydra import initialize
from hydra.core.config_store import ConfigStore
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from compressor.devices.likeness import LIKE, filled_in
from compressor.errors import RequestError, UnknownNameError
from compressor.request.folders import GROUPS, choices, config_file
from compressor.request.overrides import Overrides

_KINDS = {"stages": "stage", "passes": "pass"}
"""What an entry of each part of a recipe is, which is also the key that says which one."""


def compose(overrides: Overrides) -> tuple[dict[str, Any], dict[str, Path]]:
    """The composed values, and the file behind each choice.

    Raises `UnknownNameError` for a choice that does not exist and `RequestError` for what Hydra refuses.
    """
    files = {group: choices(group, overrides.own_folders) for group in GROUPS}
    for group, name in overrides.choices.items():
        if name not in files[group]:
            raise UnknownNameError(group, name, files[group])
    chosen = {group: files[group].get(name) for group, name in {**_defaults(), **overrides.choices}.items()}
    primary = _register(files, [file for file in chosen.values() if file is not None])
    # `++` sets a key whether or not the file spells it out: the settings dataclasses say which keys exist.
    lines = [f"{group}={name}" for group, name in overrides.choices.items()]
    values = _composed(primary, [*lines, *(f"++{line}" for line in overrides.values.values())])
    added = [(kind, key) for kind, key in _steps(values) if overrides.names(f"recipe.{kind}.{key}")]
    if any(not _says_what_it_is(kind, values["recipe"][kind][key]) for kind, key in added):
        _refuse_unsaid(values, _composed(primary, lines), str(chosen["recipe"].stem if chosen["recipe"] else ""))
    for key in overrides.removals:
        _remove(values, key)
    return values, {group: file for group, file in chosen.items() if file is not None}


def _composed(primary: str, lines: list[str]) -> dict[str, Any]:
    try:
        with initialize(version_base="1.3", config_path=None):
            config = hydra_compose(primary, overrides=lines)
            OmegaConf.set_struct(config, False)
            return cast(dict[str, Any], OmegaConf.to_container(config, resolve=True))
    except (HydraException, OmegaConfBaseException) as error:
        raise RequestError(f"the request cannot be composed: {_first_sentence(error)}") from error


def _steps(values: Mapping[str, Any]) -> list[tuple[str, str]]:
    """("stages" or "passes", key) of every entry of the recipe."""
    recipe = values.get("recipe")
    groups = {kind: recipe.get(kind) for kind in _KINDS} if isinstance(recipe, dict) else {}
    return [(kind, str(key)) for kind, entries in groups.items() if isinstance(entries, dict) for key in entries]


def _says_what_it_is(kind: str, entry: Any) -> bool:
    """Whether an entry could be a new one; what is no mapping is refused elsewhere."""
    return entry is not None and (not isinstance(entry, dict) or _KINDS[kind] in entry or "after" in entry)


def _refuse_unsaid(values: Mapping[str, Any], bare: Mapping[str, Any], recipe: str) -> None:
    """Raise `RequestError` for settings of a stage or pass that the `bare` recipe lacks, which would add it unasked."""
    own = _steps(bare)
    for kind, key in _steps(values):
        if (kind, key) in own or _says_what_it_is(kind, values["recipe"][kind][key]):
            continue
        known = [name for group, name in own if group == kind]
        close = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
        hint = f", did you mean '{close[0]}'" if close else ""
        step = _KINDS[kind]
        raise RequestError(
            f"recipe.{kind}.{key} (command line): the recipe '{recipe}' has no {step} '{key}'{hint} (its {kind}: "
            f"{', '.join(known) or 'none'}); to add one, give recipe.{kind}.{key}.{step}=NAME, and "
            f"recipe.{kind}.{key}.after=KEY for its place."
        )


def _register(files: Mapping[str, Mapping[str, Path]], chosen: Sequence[Path]) -> str:
    """Put every file into Hydra's store under its group, in place of what an earlier request stored.

    A file that cannot be read is an error only if it was chosen.
    """
    store = ConfigStore.instance()
    for group, members in files.items():
        store.repo.pop(group, None)
        for name, file in members.items():
            try:
                store.store(name=name, group=group, node=_choice(name, members))
            except RequestError:
                if file in chosen:
                    raise
    primary = "compressor_request"
    store.store(name=primary, node=read_yaml(config_file()))
    return primary


def _choice(name: str, members: Mapping[str, Path]) -> Any:
    """A choice's settings; one that says `like: NAME` has those of the other one under its own."""
    node = read_yaml(members[name])
    if LIKE not in node:
        return node
    plain = lambda file: cast(dict[str, Any], OmegaConf.to_container(read_yaml(file)))  # noqa: E731
    return OmegaConf.create(filled_in(name, members, plain))


def read_yaml(file: Path) -> Any:
    """A YAML file as OmegaConf reads it (numbers such as 3e-5 are numbers); `RequestError` if it cannot be read."""
    try:
        node = _parsed(file, file.stat().st_mtime_ns)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise RequestError(f"{file} cannot be read as YAML: {_first_sentence(error)}") from error
    if not OmegaConf.is_dict(node):
        raise RequestError(f"{file} must hold a mapping of keys to values.")
    return node


@functools.lru_cache(maxsize=256)
def _parsed(file: Path, modified: int) -> Any:
    return OmegaConf.load(file)


def _defaults() -> dict[str, str]:
    entries = read_yaml(config_file())["defaults"]
    return {group: str(name) for entry in entries if not isinstance(entry, str) for group, name in entry.items()}


def _remove(values: dict[str, Any], key: str) -> None:
    *parents, last = key.split(".")
    node: Any = values
    for part in [*parents, last]:
        if not isinstance(node, dict) or part not in node:
            options = node if isinstance(node, dict) else ()
            raise UnknownNameError("key", part, options, f"'~{key}'")
        if part is last:
            break
        node = node[part]
    del node[last]


def _first_sentence(error: Exception) -> str:
    return " ".join(str(error).split("\n\n")[0].split())
