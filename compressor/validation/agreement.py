"""Does the compressed model still say what the teacher says? A metric alone hides answers that changed both ways."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from compressor.tasks.base import Task
from compressor.validation.bootstrap import Interval, paired_interval
from compressor.validation.metric import Evaluation


@dataclass(frozen=True)
class Agreement:
    """Shares and counts over the same examples; `interval` is of the example scores' mean difference."""

    same: float  # share of predictions that agree, as the task compares them, 0 ... 1
    right_to_wrong: int  # the teacher was right (from the task's `right_from` on), this model is not
    wrong_to_right: int
    examples: int
    interval: Interval


def agreement(task: Task, teacher: Evaluation, model: Evaluation, *, seed: int = 0) -> Agreement:
    """Compare a model's predictions with the teacher's, example by example."""
    pairs = list(zip(teacher.predictions, model.predictions, strict=True))
    was, is_now = (each.example_scores >= task.right_from for each in (teacher, model))
    return Agreement(
        same=float(np.mean([task.same(first, second) for first, second in pairs])),
        right_to_wrong=int(np.sum(was & ~is_now)),
        wrong_to_right=int(np.sum(~was & is_now)),
        examples=len(pairs),
        interval=paired_interval(model.example_scores, teacher.example_scores, seed=seed),
    )
