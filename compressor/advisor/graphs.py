"""Graphs of one checkpoint for several candidates: exported once, each pass run once for all that begin alike."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from compressor.graph.context import PassContext
from compressor.graph.export import export
from compressor.graph.registry import run_pass
from compressor.progress import Silent
from compressor.request import PassEntry
from compressor.stages.context import Checkpoint
from compressor.steps import Steps


@dataclasses.dataclass(frozen=True)
class Made:
    """A finished graph, and the length configuration that it must be given; None: it has one, or no dial."""

    path: Path
    keep: list[float] | None


class Graphs:
    """Makes the graphs of one checkpoint in a folder that its owner removes."""

    def __init__(self, steps: Steps, checkpoint: Checkpoint, folder: Path) -> None:
        self.steps = steps
        self.checkpoint = checkpoint
        self.folder = folder
        self._made: dict[str, tuple[Path, dict[str, Any]]] = {}
        self._context = PassContext(
            task=steps.task,
            data=steps.data,
            tokenizer=steps.tokenizer(checkpoint),
            checkpoint=checkpoint,
            device=steps.request.device,
            seed=steps.request.seed,
            progress=Silent(),
        )

    def of(self, passes: Sequence[PassEntry]) -> Made:
        """The graph behind these passes. Errors as of export and passes."""
        path, notes = self._after(list(passes))
        return Made(path, notes.get("keep") if self.steps.request.dial == "required" else None)

    def _after(self, passes: list[PassEntry]) -> tuple[Path, dict[str, Any]]:
        key = repr([(entry.spec.name, entry.settings) for entry in passes])
        if key not in self._made:
            target = self.folder / f"{len(self._made)}.onnx"
            if not passes:
                request = self.steps.request
                export(self.checkpoint, self.steps.task, target, opset=request.opset, dial=request.dial)
                self._made[key] = (target, {})
            else:
                source, notes = self._after(passes[:-1])
                target = self.folder / f"{len(self._made)}.onnx"
                last = passes[-1]
                result = run_pass(last.spec, source, target, last.settings, self._context)
                self._made[key] = (target, {**notes, **result.notes})
        return self._made[key]
