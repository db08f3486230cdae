"""Tiny models of every family."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from compressor.models import checkpoint
from compressor.tasks import Task
from tests.stages.distill.conftest import model_config, tiny_task

FAMILY_NAMES = ["bert", "roberta", "distilbert", "electra"]
TASK_NAMES = ["question-answering", "text-classification", "text-regression", "token-classification"]


def make_model(model_type: str = "bert", task: Task | None = None, *, layers: int = 3, seed: int = 0) -> Any:
    """A model with weights large enough that outputs differ between inputs."""
    model = checkpoint.build(
        model_config(model_type, layers, 32, 4), task or tiny_task("question-answering"), seed=seed
    )
    for name, parameter in model.named_parameters():
        if parameter.ndim == 2 and "embeddings" not in name:
            parameter.data.mul_(6)
        elif parameter.ndim == 2:
            parameter.data.mul_(20)
    return model


def make_inputs(batch: int = 3, length: int = 20, *, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids without the padding id, and a mask of ones: [batch, length] each."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(5, 39, (batch, length), generator=generator), torch.ones(batch, length, dtype=torch.long)


def largest_difference(first: Any, second: Any, where: torch.Tensor | None = None) -> float:
    """Largest absolute difference of two model outputs; `where` [batch, length] chooses positions."""
    differences = []
    for name in first:
        if isinstance(first[name], torch.Tensor):
            difference = (first[name] - second[name]).abs()
            differences.append(float((difference if where is None else difference[where]).max()))
    return max(differences)


@pytest.fixture(params=FAMILY_NAMES)
def model_type(request: pytest.FixtureRequest) -> str:
    return str(request.param)
