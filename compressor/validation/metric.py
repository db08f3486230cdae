"""The task's metric of an ONNX file, run in a process of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from compressor.config.device import DeviceProfile
from compressor.devices.outputs import run_features
from compressor.errors import DataError, DeviceError
from compressor.graph.dial import BLOCKS_RUN
from compressor.tasks.base import Feature, Task
from compressor.tasks.examples import Example

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class Evaluation:
    """Metrics in points by name (the primary one first), a prediction and a score [examples] for each example."""

    metrics: dict[str, float]
    predictions: list[Any]
    example_scores: np.ndarray
    windows: int  # rows of model input, of which question answering makes several of a long example
    blocks_run: list[int] | None = None  # layers that each row needed, where the graph can stop early

    @property
    def primary(self) -> float:
        """The metric that gates and searches use, in points."""
        return next(iter(self.metrics.values()))


def evaluate(
    model_path: Path,
    task: Task,
    examples: Sequence[Example],
    tokenizer: PreTrainedTokenizerBase,
    profile: DeviceProfile,
    keep: Sequence[float] | None = None,
    *,
    features: Sequence[Feature] | None = None,
    batch_size: int = 16,
    tuned: bool = False,
    on_rows: Callable[[int], None] | None = None,
) -> Evaluation:
    """Run the file on all examples (threads and providers as the profile says) and score what it answers.

    `features` are those of `examples`, if they have been made already. `tuned` decodes as is best for just these
    answers (`Task.tuned`), which tells half-trained models apart. `on_rows` hears of finished rows.
    Raises `DeviceError` when the file does not run or gives something else than finite numbers for the task's
    outputs, and `DataError` when there is nothing to evaluate on.
    """
    if not examples:
        raise DataError("there is no example to evaluate on.")
    rows = features if features is not None else task.features(examples, tokenizer, labelled=False)
    outputs = run_features(
        model_path,
        profile,
        rows,
        keep,
        batch_size=batch_size,
        pad_id=tokenizer.pad_token_id or 0,
        token_outputs=task.output_names if task.restores_tokens else (),
        on_rows=on_rows,
    )
    require_usable(outputs, task, model_path)
    if tuned:
        task = task.tuned(examples, rows, outputs)
    predictions = task.decode(examples, rows, outputs)
    return Evaluation(
        metrics=task.score(examples, predictions),
        predictions=predictions,
        example_scores=task.example_scores(examples, predictions),
        windows=len(rows),
        blocks_run=[int(row[BLOCKS_RUN]) for row in outputs] if BLOCKS_RUN in outputs[0] else None,
    )


def require_usable(outputs: Sequence[dict[str, np.ndarray]], task: Task, model_path: Path) -> None:
    """A graph of another task, or one that overflows, must not pass as one with a poor metric: `DeviceError`."""
    missing = [name for name in task.output_names if name not in outputs[0]]
    if missing:
        raise DeviceError(f"{model_path.name} has no output '{missing[0]}', so it is not a graph for {task.name}.")
    for name in task.output_names:
        broken = sum(not np.isfinite(row[name]).all() for row in outputs)
        if broken:
            raise DeviceError(
                f"{model_path.name} gives infinite or undefined '{name}' for {broken} of {len(outputs)} rows; "
                "its number format overflows: choose another one, or exclude nodes from it."
            )
