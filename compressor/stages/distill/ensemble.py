"""What several teachers say together: the mean of their probabilities, given as logits. Pure."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from compressor.tasks.base import Task

_SMALLEST = 1e-12


def together(task: Task, rows: Sequence[np.ndarray]) -> np.ndarray:
    """Logits of the mean over teachers; of one teacher its own, of numbers (regression) their mean.

    Args:
        task: Decides what the outputs are distributions over.
        rows: The same output of the same row by every teacher: [length] is one end of a span, a distribution over the
            row's real positions; otherwise the last axis has the classes, or with several labels one Bernoulli each.
    """
    if len(rows) == 1:
        return rows[0]
    if task.name == "text-regression":
        return np.asarray(np.mean(rows, axis=0))
    if task.multi_label:
        mean = np.asarray(np.mean([1 / (1 + np.exp(-row.astype(np.float64))) for row in rows], axis=0))
        return np.asarray(_log(mean) - _log(1 - mean))
    return _log(np.asarray(np.mean([_softmax(row) for row in rows], axis=0)))


def _softmax(logits: np.ndarray) -> np.ndarray:
    raised = np.exp(logits.astype(np.float64) - logits.max(axis=-1, keepdims=True))
    found: np.ndarray = raised / raised.sum(axis=-1, keepdims=True)
    return found


def _log(probability: np.ndarray) -> np.ndarray:
    return np.asarray(np.log(np.maximum(probability, _SMALLEST)))
