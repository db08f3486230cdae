"""The words of a command line, sorted, and which of them a verb takes. Imports nothing heavy."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from compressor.config.paths import expanded
from compressor.errors import RequestError, UnknownNameError

_KEYS = ("recipe", "device", "data", "teacher", "task", "output", "seed", "overwrite")


@dataclass(frozen=True)
class Arguments:
    """The command line, sorted."""

    verb: str
    words: list[str]  # of a verb: a directory, "clean", "recipes"
    settings: list[str]  # KEY=VALUE, ~KEY
    config_dirs: list[str]
    multirun: bool = False
    debug: bool = False
    max_gb: str | None = None
    everything: bool = False
    launcher: str | None = None
    shard: str | None = None


def sort_arguments(argv: Sequence[str], verbs: Collection[str]) -> Arguments:
    """Sort words, settings and options; raises `RequestError` for what is not understood."""
    words: list[str] = []
    settings: list[str] = []
    values: dict[str, list[str]] = {"--config-dir": [], "--max-gb": [], "--launcher": [], "--shard": []}
    flags = {"--multirun": False, "--debug": False, "--all": False}
    rest = list(argv)
    while rest:
        word = rest.pop(0)
        name, equals, value = word.partition("=")
        if name in values:
            if not equals and not rest:
                raise RequestError(f"{name} needs a value.")
            values[name].append(value if equals else rest.pop(0))
        elif word in ("-m", *flags):
            flags["--multirun" if word == "-m" else word] = True
        elif word.startswith("-") and name.lstrip("-") in _KEYS:
            key = name.lstrip("-")
            raise RequestError(f"'{word}' is not understood: settings have no dashes, {key}=VALUE.")
        elif word.startswith("-"):
            raise UnknownNameError("option", word, ["--help", "--version", *values, *flags])
        elif equals or word.startswith("~"):
            settings.append(word)
        else:
            words.append(word)
    verb = words.pop(0) if words else "run"
    if verb not in verbs:
        raise UnknownNameError("verb", verb, verbs)
    return Arguments(
        verb=verb,
        words=words,
        settings=settings,
        config_dirs=values["--config-dir"],
        multirun=flags["--multirun"],
        debug=flags["--debug"],
        max_gb=values["--max-gb"][-1] if values["--max-gb"] else None,
        everything=flags["--all"],
        launcher=values["--launcher"][-1] if values["--launcher"] else None,
        shard=values["--shard"][-1] if values["--shard"] else None,
    )


def one_folder(arguments: Arguments) -> Path:
    """The folder of the one artifact that the verb is about; raises `RequestError`."""
    if len(arguments.words) != 1:
        raise RequestError(f"{arguments.verb} needs one artifact: python -m compressor {arguments.verb} DIR")
    return expanded(arguments.words[0])


def require_folder(folder: Path) -> None:
    """Raise `RequestError` where there is none."""
    if not folder.is_dir():
        raise RequestError(f"{folder} is not a folder: give the folder of an artifact.")


def no_words(arguments: Arguments) -> None:
    """Raise `RequestError` for a word that is neither a verb nor a setting."""
    if arguments.words:
        raise RequestError(f"'{arguments.words[0]}' is not understood: settings are given as KEY=VALUE.")


def only_options(arguments: Arguments, *options: str) -> None:
    """Raise `RequestError` for an option that the verb does not have."""
    given = {
        "--multirun": arguments.multirun,
        "--config-dir": bool(arguments.config_dirs),
        "--max-gb": arguments.max_gb is not None,
        "--all": arguments.everything,
        "--launcher": arguments.launcher is not None,
        "--shard": arguments.shard is not None,
    }
    for name, there in given.items():
        if there and name not in options:
            raise RequestError(f"{name} means nothing to {arguments.verb}.")


def no_settings(arguments: Arguments) -> None:
    """Raise `RequestError` for a setting: the verb takes none."""
    if arguments.settings:
        raise RequestError(f"'{arguments.settings[0]}' means nothing to {arguments.verb}.")
