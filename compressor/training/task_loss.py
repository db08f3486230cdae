"""The objective of plain fine-tuning."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch

from compressor.tasks.base import Task
from compressor.training.trainer import Objective


def task_loss(task: Task) -> Objective:
    """One pass an update: the task's loss on the labels."""

    def objective(
        model: torch.nn.Module, inputs: Mapping[str, torch.Tensor], labels: Mapping[str, torch.Tensor], step: int
    ) -> Iterator[torch.Tensor]:
        yield task.loss(model(**inputs), labels)

    return objective
