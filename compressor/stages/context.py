"""What every stage is given beside its checkpoint and settings. Imports nothing heavy."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compressor.config.device import DeviceProfile
from compressor.progress import Progress

if TYPE_CHECKING:
    from compressor.data.splits import Splits
    from compressor.tasks.base import Task


@dataclass(frozen=True)
class Checkpoint:
    """A `save_pretrained` directory (weights as safetensors, config, tokenizer) and its cache key."""

    path: Path
    key: str


Make = Callable[[Path, Path], None]
"""`make(output, work)` writes files into the empty folder `output`; `work` survives a kill."""
Keep = Callable[[str, Mapping[str, Any], Checkpoint, str, Make], Path]
"""`StageContext.kept`, by the run's cache."""


@dataclass(frozen=True)
class StageContext:
    """Task, data and teacher of the run, and two folders: one for the result, one that survives a kill."""

    task: Task
    data: Splits
    teacher: Checkpoint
    device: DeviceProfile
    seed: int
    output: Path  # empty folder; the stage writes its checkpoint here (models.checkpoint.save)
    work: Path  # the stage's own; kept over a killed run (trainer checkpoints), removed when it finishes
    progress: Progress
    keep: Keep | None = None

    def kept(self, kind: str, parts: Mapping[str, Any], source: Checkpoint, title: str, make: Make) -> Path:
        """A folder with what `make` writes, found again by `parts` and the content of the checkpoint `source`.

        Where there is no cache, it stands in the stage's own folder and goes with it.
        """
        if self.keep is not None:
            return self.keep(kind, parts, source, title, make)
        name = hashlib.sha256(json.dumps([parts, str(source.path)], sort_keys=True).encode()).hexdigest()[:16]
        folder = self.work / f"{kind}-{name}"
        if not folder.is_dir():
            new = self.work / f"new-{folder.name}"
            new.mkdir(parents=True, exist_ok=True)
            make(new, self.work / f"parts-{folder.name}")
            new.rename(folder)
        return folder
