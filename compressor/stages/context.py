"""What every stage is given beside its checkpoint and settings. Imports nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

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
