"""What every graph pass is given beside its graph and settings. Imports nothing heavy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compressor.config.device import DeviceProfile
from compressor.progress import Progress

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from compressor.data.splits import Splits
    from compressor.stages.context import Checkpoint
    from compressor.tasks.base import Task


@dataclass(frozen=True)
class PassContext:
    """Everything a pass may read: the task, the data, the device and the checkpoint that was exported."""

    task: Task
    data: Splits
    tokenizer: PreTrainedTokenizerBase
    checkpoint: Checkpoint  # its config.json has the architecture and the Structure
    device: DeviceProfile
    seed: int
    progress: Progress


@dataclass(frozen=True)
class PassResult:
    """Where the new graph is, and what the pass found out (goes into the manifest, plain JSON values)."""

    path: Path
    notes: dict[str, Any]


ModelInputs = Sequence[dict[str, Any]]
