"""A request: everything that one run is asked to do, resolved and checked."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from compressor.config.device import DeviceProfile, public, without_private
from compressor.config.opset import choose_opset
from compressor.config.run import (
    DataSettings,
    ExportSettings,
    FeatureSettings,
    GateSettings,
    MeasureSettings,
    RecipeSettings,
    TaskName,
    TeacherSettings,
)
from compressor.config.schema import to_mapping
from compressor.graph.registry import PassSpec
from compressor.request.steps import Entry
from compressor.stages.registry import StageSpec

StageEntry = Entry[StageSpec]
PassEntry = Entry[PassSpec]


@dataclass(frozen=True)
class Request:
    """Recipe, device, data and teacher with everything that the command line changed."""

    recipe: RecipeSettings
    task: TaskName
    stages: tuple[StageEntry, ...]
    passes: tuple[PassEntry, ...]
    device: DeviceProfile
    data_name: str
    data: DataSettings
    teacher_name: str
    teacher: TeacherSettings
    features: FeatureSettings
    export: ExportSettings
    gates: GateSettings
    measure: MeasureSettings
    seed: int
    overwrite: bool
    export_each_stage: bool
    output: Path  # folder of artifacts, refusals and the cache
    words: tuple[str, ...] = ()  # of the command line that asked for it
    variant: str = ""  # tells it from others of the same place, in a sweep

    @property
    def place(self) -> Path:
        """Where the artifact goes, relative to `output`: `<recipe>/<task>-<data>/<device>[,<variant>]`."""
        device = f"{self.device.name},{self.variant}" if self.variant else self.device.name
        return Path(self.recipe.name) / f"{self.task}-{self.data_name}" / device

    @property
    def command(self) -> list[str]:
        """The words that ask for the same again, wherever it is written."""
        words = without_private(self.words)
        return [word for word in words if word.lstrip("+").partition("=")[0] not in ("output", "overwrite")]

    @property
    def artifact(self) -> Path:
        """The artifact's folder."""
        return self.output / self.place

    @property
    def dial(self) -> str:
        """How the length dial is exported: as asked, or as the device needs it."""
        return self.device.dial if self.export.dial == "auto" else self.export.dial

    @property
    def opset(self) -> int:
        """The opset of the graph: as asked, or the newest that we write and the device reads."""
        return choose_opset(self.export.opset, self.device)

    def resolved(self) -> dict[str, Any]:
        """Everything that decides the result, as plain values (for the manifest and to tell requests apart)."""
        return {
            "recipe": {
                "name": self.recipe.name,
                "description": self.recipe.description,
                "paper": self.recipe.paper,
                "stages": _steps("stage", self.stages),
                "passes": _steps("pass", self.passes),
            },
            "task": self.task,
            "device": public(self.device),
            "data": {**to_mapping(self.data), "choice": self.data_name},
            "teacher": {"name": self.teacher_name, **to_mapping(self.teacher)},
            **{name: dataclasses.asdict(getattr(self, name)) for name in ("features", "export", "gates", "measure")},
            "seed": self.seed,
            "export_each_stage": self.export_each_stage,
        }


def _steps(kind: str, entries: tuple[Entry[Any], ...]) -> dict[str, dict[str, Any]]:
    return {entry.key: {kind: entry.spec.name, **to_mapping(entry.settings)} for entry in entries}
