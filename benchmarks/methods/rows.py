"""The rows of the table, from `rows.yaml`: stages, passes behind `fuse`, and the survey's figures for the same kind."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from workbench import SEED

Steps = tuple[tuple[str, dict[str, Any]], ...]


@dataclass(frozen=True)
class Row:
    """One line. `survey`: what Ganesh et al. 2021, table 1, give for the kind: size, speed-up GPU/CPU, points.

    `halves`: timed as a model whose second texts were read before: the lower half on first texts, the upper on both.
    `seed`: of its stages. `anew`: its first stage begins with the encoder instead of the teacher.
    """

    key: str
    trained_as: str  # the row whose stages these are, its own key if they are its own
    label: str
    family: str
    stages: Steps
    passes: Steps
    survey: str
    sets: tuple[str, ...] = ("banking77", "clinc150")  # data sets that it is measured on
    halves: bool = False
    seed: int = SEED
    anew: bool = False


def _read(path: Path) -> tuple[Row, ...]:
    document = yaml.safe_load(path.read_text(encoding="utf-8"))
    settings = document["settings"]

    def filled(values: dict[str, Any]) -> dict[str, Any]:
        used = filled(settings[values["use"]]) if "use" in values else {}
        return {**used, **{key: value for key, value in values.items() if key != "use"}}

    def steps(listed: list[dict[str, Any]]) -> Steps:
        return tuple((name, filled(values)) for step in listed for name, values in step.items())

    def stages(key: str) -> Steps:
        return steps(document["rows"][key].get("stages", []))

    return tuple(
        Row(
            key,
            entry.get("same_as", key),
            entry["label"],
            entry["family"],
            stages(entry.get("same_as", key)),
            (("fuse", {}), *steps(entry.get("passes", []))),
            entry.get("survey", ""),
            tuple(entry.get("sets", ("banking77", "clinc150"))),
            entry.get("halves", False),
            entry.get("seed", SEED),
            entry.get("anew", False),
        )
        for key, entry in document["rows"].items()
    )


ROWS = _read(Path(__file__).with_name("rows.yaml"))
