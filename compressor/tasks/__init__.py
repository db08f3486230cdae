"""Tasks: one file each. Features, loss, decoding and metric of what a model is for."""

from __future__ import annotations

from collections.abc import Sequence

from compressor.config.run import FeatureSettings
from compressor.errors import UnknownNameError
from compressor.tasks.base import Feature, Task
from compressor.tasks.question_answering import QuestionAnswering
from compressor.tasks.text_classification import TextClassification
from compressor.tasks.text_regression import TextRegression
from compressor.tasks.token_classification import TokenClassification

TASKS: dict[str, type[Task]] = {
    task.name: task for task in (QuestionAnswering, TextClassification, TextRegression, TokenClassification)
}

__all__ = ["TASKS", "Feature", "Task", "make_task"]


def make_task(name: str, settings: FeatureSettings, labels: Sequence[str] = (), *, multi_label: bool = False) -> Task:
    """Build the task called `name`; `labels` in the order of the model's outputs.

    Raises `UnknownNameError` for a task that does not exist.
    """
    if name not in TASKS:
        raise UnknownNameError("task", name, TASKS)
    return TASKS[name](settings, labels, multi_label=multi_label)
