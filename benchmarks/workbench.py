"""What benchmarks share: stages and passes that run once and are found again by a later call."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from compressor.config.device import DeviceProfile
from compressor.console import Console
from compressor.data.splits import Splits
from compressor.devices import host, profiles
from compressor.graph.context import PassContext
from compressor.graph.registry import pass_spec, run_pass
from compressor.models.checkpoint import load_tokenizer
from compressor.request.folders import group_folders
from compressor.stages.context import Checkpoint, StageContext
from compressor.stages.registry import stage_spec
from compressor.tasks.base import Task

SEED = 42


class Workbench:
    """Runs stages and passes on one task's data, and keeps their results in `work`."""

    def __init__(self, work: Path, task: Task, data: Splits, teacher: Checkpoint) -> None:
        self.work = work
        self.task = task
        self.data = data
        self.teacher = teacher
        self.profile: DeviceProfile = profiles.load("host", group_folders("device"))
        self.progress = Console()
        for name in ("checkpoints", "graphs", "quality"):
            (work / name).mkdir(parents=True, exist_ok=True)

    def stage(self, name: str, key: str, source: Checkpoint, *, seed: int = SEED, **values: Any) -> Checkpoint:
        """Run one stage unless its checkpoint is there already."""
        target = self.work / "checkpoints" / key
        if not (target / "config.json").exists():
            spec = stage_spec(name)
            output = self.work / "unfinished" / key
            shutil.rmtree(output, ignore_errors=True)
            output.mkdir(parents=True)
            trainer = self.work / "trainer" / key
            trainer.mkdir(parents=True, exist_ok=True)
            context = StageContext(
                self.task, self.data, self.teacher, self.profile, seed, output, trainer, self.progress
            )
            spec.load_run()(source, spec.load_settings()(**values), context)
            output.rename(target)
            shutil.rmtree(trainer, ignore_errors=True)
        return Checkpoint(target, key)

    def graph_pass(
        self, name: str, source: Path, target: Path, checkpoint: Checkpoint, **values: Any
    ) -> dict[str, Any]:
        """Run one graph pass unless its graph is there already; gives its notes."""
        notes = target.with_suffix(".json")
        if not notes.exists():
            spec = pass_spec(name)
            context = PassContext(
                task=self.task,
                data=self.data,
                tokenizer=load_tokenizer(checkpoint.path),
                checkpoint=checkpoint,
                device=self.profile,
                seed=SEED,
                progress=self.progress,
            )
            result = run_pass(spec, source, target, spec.load_settings()(**values), context)
            notes.write_text(json.dumps(result.notes, indent=1))
        found: dict[str, Any] = json.loads(notes.read_text())
        return found


def machine_line(threads: int | str) -> str:
    """What a page says of the machine that its figures are from."""
    machine = host.describe()
    libraries = ", ".join(f"{name} {version}" for name, version in machine["libraries"].items())
    return (
        f"Machine: {machine['cpu']}, {machine['cores']} cores ({', '.join(machine['flags'])}), "
        f"{machine['memory_mb']} MB; {threads} threads. {libraries}."
    )
