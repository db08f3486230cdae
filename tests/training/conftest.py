"""A tiny encoder, features of many lengths and a context to train in."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from transformers import BertConfig, BertForSequenceClassification

from compressor.config.device import DeviceProfile, Provider
from compressor.config.run import FeatureSettings, TaskName
from compressor.progress import Silent
from compressor.stages.context import Checkpoint, StageContext
from compressor.tasks.base import Feature, Task

TOKENIZER: Any = SimpleNamespace(pad_token_id=0, pad_token_type_id=0)
VOCABULARY = 50


class ToyTask(Task):
    """Two classes; only what training needs."""

    name: ClassVar[TaskName] = "text-classification"
    auto_class = "AutoModelForSequenceClassification"
    output_names = ("logits",)
    label_names = ("labels",)
    restores_tokens = False

    @property
    def metric_names(self) -> tuple[str, ...]:
        return ("accuracy",)

    @property
    def max_length(self) -> int:
        return 64

    def features(self, examples: Any, tokenizer: Any, *, labelled: bool) -> list[Feature]:
        return []

    def loss(self, outputs: Mapping[str, torch.Tensor], labels: Mapping[str, torch.Tensor]) -> torch.Tensor:
        return torch.nn.functional.cross_entropy(outputs["logits"].float(), labels["labels"])

    def decode(self, examples: Any, features: Any, outputs: Any) -> list[Any]:
        return []

    def score(self, examples: Any, predictions: Any) -> dict[str, float]:
        return {}

    def example_scores(self, examples: Any, predictions: Any) -> np.ndarray:
        return np.zeros(0)


def make_features(count: int, *, seed: int = 0, longest: int = 30) -> list[Feature]:
    """Rows of random tokens; the label says whether the first token is in the upper half of the vocabulary."""
    random = np.random.default_rng(seed)
    rows = []
    for i in range(count):
        ids = random.integers(1, VOCABULARY, random.integers(3, longest + 1)).tolist()
        inputs = {"input_ids": ids, "attention_mask": [1] * len(ids), "token_type_ids": [0] * len(ids)}
        rows.append(Feature(inputs=inputs, labels={"labels": int(ids[0] >= VOCABULARY // 2)}, example=i))
    return rows


def make_model(seed: int = 0, dropout: float = 0.1) -> BertForSequenceClassification:
    """A two-layer BERT with random weights."""
    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=VOCABULARY,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=64,
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=dropout,
    )
    return BertForSequenceClassification(config).eval()


def task_objective(task: Task) -> Callable[..., Any]:
    """One pass: the task's loss."""

    def objective(model: Any, inputs: Any, labels: Any, step: int) -> Any:
        yield task.loss(model(**inputs), labels)

    return objective


@pytest.fixture
def task() -> ToyTask:
    return ToyTask(FeatureSettings(), ("low", "high"))


@pytest.fixture
def context(task: ToyTask, tmp_path: Path) -> StageContext:
    return make_context(task, tmp_path)


def make_context(task: Task, folder: Path, progress: Any = None) -> StageContext:
    """A context whose folders lie in `folder`."""
    splits: Any = SimpleNamespace(train=[])
    device = DeviceProfile(name="test", description="", providers=[Provider(name="CPUExecutionProvider")])
    teacher = Checkpoint(folder / "teacher", "teacher")
    return StageContext(
        task=task,
        data=splits,
        teacher=teacher,
        device=device,
        seed=7,
        output=folder / "output",
        work=folder / "work",
        progress=progress or Silent(),
    )


def weights(model: torch.nn.Module) -> Sequence[torch.Tensor]:
    """Copies of all parameters."""
    return [parameter.detach().clone() for parameter in model.parameters()]
