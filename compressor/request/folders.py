"""Where recipes, profiles, data and teacher files are: in a checkout, in an installed wheel, and the user's own."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path

from compressor.config.paths import expanded
from compressor.errors import RequestError

GROUPS = ("recipe", "device", "data", "teacher")
"""The choices of a request, each one YAML file."""

_PACKAGE = Path(__file__).resolve().parent.parent


def project_folder(name: str) -> Path:
    """`conf` or `recipes`: inside the package of an installed wheel, beside it in a checkout."""
    inside = _PACKAGE / name
    return inside if inside.is_dir() else _PACKAGE.parent / name


def config_file() -> Path:
    """The primary config, `conf/config.yaml`."""
    return project_folder("conf") / "config.yaml"


def group_folders(group: str, own: Sequence[Path] = ()) -> list[Path]:
    """Folders that hold the files of a group, the user's own first."""
    built_in = project_folder("recipes") if group == "recipe" else project_folder("conf") / group
    return [*(folder / group for folder in own), built_in]


def choices(group: str, own: Sequence[Path] = ()) -> dict[str, Path]:
    """Files of a group by name; the user's own win over ours."""
    found: dict[str, Path] = {}
    for folder in group_folders(group, own):
        for file in sorted(folder.glob("*.yaml")):
            found.setdefault(file.stem, file)
    return found


def own_folder(place: str) -> Path:
    """The folder behind `--config-dir` or an entry of `hydra.searchpath`: a path, file://path or pkg://package."""
    if place.startswith("pkg://"):
        name = place.removeprefix("pkg://").replace("/", ".")
        try:
            spec = importlib.util.find_spec(name)
        except ModuleNotFoundError:
            spec = None
        where = list(spec.submodule_search_locations or []) if spec else []
        folder = Path(where[0]) if where else Path(name)
    else:
        folder = expanded(place.removeprefix("file://")).resolve()
    if not folder.is_dir():
        raise RequestError(f"config folder '{place}' does not exist: give one that holds recipe/, device/ or data/.")
    return folder
