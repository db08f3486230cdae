"""Saves of a running training: complete or absent, and checked before a killed run goes on from one."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path

_SEAL = "seal.json"  # written last: SHA-256 of every other file
_PREFIX = "checkpoint-"


def seal(folder: Path) -> None:
    """Write the checksums of all files of a save and force everything to the disk."""
    sums = {path.name: _sha256(path) for path in sorted(folder.iterdir())}
    (folder / _SEAL).write_text(json.dumps(sums), encoding="utf-8")
    for path in folder.iterdir():
        with path.open("rb") as file:
            os.fsync(file.fileno())


def is_whole(folder: Path) -> bool:
    """Whether every file of a save is there and unchanged since it was sealed."""
    try:
        sums = json.loads((folder / _SEAL).read_text(encoding="utf-8"))
        return bool(sums) and all(_sha256(folder / name) == value for name, value in sums.items())
    except (OSError, ValueError, AttributeError):
        return False


def newest(folder: Path) -> Path | None:
    """The newest whole save in `folder`; damaged and unfinished ones are removed on the way."""
    for path in reversed(_saves(folder)):
        if is_whole(path):
            return path
        shutil.rmtree(path, ignore_errors=True)
    return None


def updates(save: Path) -> int:
    """How many updates had been made when a save was written."""
    return int(save.name.removeprefix(_PREFIX))


def publish(partial: Path, folder: Path, keep: int = 2) -> None:
    """Seal a finished save, move it into `folder` and remove all but the newest `keep`."""
    seal(partial)
    target = folder / partial.name
    shutil.rmtree(target, ignore_errors=True)
    partial.rename(target)
    for old in _saves(folder)[:-keep]:
        shutil.rmtree(old, ignore_errors=True)


def _saves(folder: Path) -> list[Path]:
    found = [path for path in folder.glob(f"{_PREFIX}*") if path.name.removeprefix(_PREFIX).isdigit()]
    return sorted(found, key=lambda path: int(path.name.removeprefix(_PREFIX)))


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
