"""Fine-tuning: the loss lowers, a missing head is made, the result loads again."""

from __future__ import annotations

from pathlib import Path

import pytest

from compressor.models import checkpoint as checkpoints
from compressor.stages.finetune.settings import FinetuneSettings
from compressor.stages.finetune.stage import run
from compressor.training import predict
from tests.stages.distill.conftest import make_checkpoint, make_context, make_examples, tiny_task


@pytest.mark.parametrize("name", ["question-answering", "text-classification", "token-classification"])
def test_learns_each_task_from_a_checkpoint_with_another_head(tmp_path: Path, name: str) -> None:
    task = tiny_task(name)
    other = tiny_task("token-classification" if name == "question-answering" else "question-answering")
    start = make_checkpoint(tmp_path / "start", other)
    assert not checkpoints.has_head(start.path, task)
    settings = FinetuneSettings(epochs=40.0, batch_size=16, learning_rate=3e-3, precision="float32")
    result = run(start, settings, make_context(tmp_path, task, start, count=64))
    model, tokenizer = checkpoints.load(result.path, task), checkpoints.load_tokenizer(result.path)
    examples = make_examples(name, 40)
    features = task.features(examples, tokenizer, labelled=False)
    scores = task.score(examples, task.decode(examples, features, predict(model, features, tokenizer, 8)))
    assert scores[task.metric_names[0]] > 90
