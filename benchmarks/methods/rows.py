"""The rows of the table, from `rows.yaml`: stages, passes behind `fuse`, and the survey's figures for the same kind."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

Steps = tuple[tuple[str, dict[str, Any]], ...]


@dataclass(frozen=True)
class Row:
    """One line. `survey`: what Ganesh et al. 2021, table 1, give for the kind: size, speed-up GPU/CPU, points."""

    key: str
    label: str
    family: str
    stages: Steps
    passes: Steps
    survey: str


def _read(path: Path) -> tuple[Row, ...]:
    document = yaml.safe_load(path.read_text(encoding="utf-8"))
    settings = document["settings"]

    def filled(values: dict[str, Any]) -> dict[str, Any]:
        used = filled(settings[values["use"]]) if "use" in values else {}
        return {**used, **{key: value for key, value in values.items() if key != "use"}}

    def steps(listed: list[dict[str, Any]]) -> Steps:
        return tuple((name, filled(values)) for step in listed for name, values in step.items())

    return tuple(
        Row(
            key,
            entry["label"],
            entry["family"],
            steps(entry.get("stages", [])),
            (("fuse", {}), *steps(entry.get("passes", []))),
            entry.get("survey", ""),
        )
        for key, entry in document["rows"].items()
    )


ROWS = _read(Path(__file__).with_name("rows.yaml"))
