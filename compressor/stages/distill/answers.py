"""What teachers answer to every training row, read once and kept on disk for all students (Tang et al. 2019).

One file an output, the real positions of all rows behind each other. A killed pass goes on behind its last whole part.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import BadZipFile

import numpy as np
from torch import Tensor, nn

from compressor.config.training import TrainingSettings
from compressor.models.kinds.length_adaptive import whole_inputs
from compressor.stages.context import Checkpoint, StageContext
from compressor.stages.teacher import load_teacher
from compressor.tasks.base import Feature
from compressor.training import training_device
from compressor.training.precision import autocast
from compressor.training.predict import predict

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_PART = 512
"""Rows that are computed at once and survive a kill."""
KIND = "teacher-answers"


class _AtFullLength(nn.Module):
    """A teacher that is handed what its family takes, with every token kept."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, **inputs: Tensor) -> Any:
        """Outputs by name."""
        return self.model(**whole_inputs(self.model, inputs))


class Answers:
    """The outputs of one teacher for every row, read from disk as they are asked for."""

    def __init__(self, folder: Path, names: Sequence[str], lengths: Sequence[int], *, by_token: bool) -> None:
        self._values = {name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in names}
        self._ends = [0, *accumulate(lengths if by_token else [1] * len(lengths))]
        self._by_token = by_token

    def row(self, index: int) -> dict[str, np.ndarray]:
        """Outputs by name of one row: [length], [length, labels], or [labels] for whole texts."""
        first, last = self._ends[index], self._ends[index + 1]
        found = {name: values[first:last] for name, values in self._values.items()}
        return found if self._by_token else {name: values[0] for name, values in found.items()}


def answers(
    teacher: Checkpoint,
    features: Sequence[Feature],
    tokenizer: PreTrainedTokenizerBase,
    settings: TrainingSettings,
    context: StageContext,
) -> Answers:
    """The teacher's answers to `features`, which `tokenizer` made: found in the cache, or computed and kept there.

    Raises:
        RequestError: The tokenizer has a piece that the teacher does not know.
        CheckpointError: The teacher has no head for the task.
    """
    names = context.task.output_names

    def make(output: Path, work: Path) -> None:
        model = _AtFullLength(load_teacher(context, tokenizer, teacher=teacher)).to(training_device())
        work.mkdir(parents=True, exist_ok=True)
        parts: list[Mapping[str, np.ndarray]] = []
        with context.progress.bar("ask the teacher", len(features)) as bar:
            for first in range(0, len(features), _PART):
                chunk = features[first : first + _PART]
                file = work / f"part-{first}.npz"
                if (found := _read(file, names)) is None:
                    with autocast(settings.precision, training_device()):
                        rows = predict(model, chunk, tokenizer, settings.batch_size)
                    found = {name: _joined([row[name] for row in rows], context) for name in names}
                    _write(file, found)
                parts.append(found)
                bar.advance(len(chunk))
        for name in names:
            np.save(output / f"{name}.npy", np.concatenate([part[name] for part in parts]))

    parts: dict[str, Any] = {
        "rows": _fingerprint(features),
        "vocabulary": _digest(repr(sorted(tokenizer.get_vocab().items())).encode()),
        "task": [context.task.name, list(context.task.labels), context.task.multi_label],
        "precision": settings.precision,
    }
    folder = context.kept(KIND, parts, teacher, "what a teacher answers", make)
    lengths = [feature.length for feature in features]
    return Answers(folder, names, lengths, by_token=context.task.restores_tokens)


def _joined(rows: Sequence[np.ndarray], context: StageContext) -> np.ndarray:
    return np.concatenate(rows) if context.task.restores_tokens else np.stack(rows)


def _fingerprint(features: Sequence[Feature]) -> str:
    whole = hashlib.sha256()
    for feature in features:
        for name, values in sorted(feature.inputs.items()):
            whole.update(name.encode() + np.asarray(values, dtype=np.int64).tobytes())
    return whole.hexdigest()


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _read(file: Path, names: Sequence[str]) -> dict[str, np.ndarray] | None:
    """A part as it was written; None for one that is not there or not whole."""
    try:
        with np.load(file) as values:
            return {name: values[name] for name in names}
    except (OSError, ValueError, KeyError, EOFError, BadZipFile):
        return None


def _write(file: Path, values: Mapping[str, np.ndarray]) -> None:
    partial = file.with_suffix(".partial.npz")
    np.savez(partial, **values)  # type: ignore[arg-type]
    partial.replace(file)
