from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    AutoModelForQuestionAnswering,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    AutoTokenizer,
)

from compressor.config.run import FeatureSettings, TaskName
from compressor.data import demo, demo_teacher
from compressor.data.demo import teacher
from compressor.data.demo.make_teacher import evaluate
from compressor.errors import StorageError
from compressor.tasks import make_task

CLASSES: dict[TaskName, Any] = {
    "question-answering": AutoModelForQuestionAnswering,
    "text-classification": AutoModelForSequenceClassification,
    "token-classification": AutoModelForTokenClassification,
}


@pytest.mark.parametrize(
    ("task", "least"), [("question-answering", 80.0), ("text-classification", 85.0), ("token-classification", 80.0)]
)
def test_the_teacher_is_a_stock_checkpoint_and_does_well(task: TaskName, least: float, tmp_path: Path) -> None:
    torch.set_num_threads(1)
    assert demo_teacher(task, tmp_path / "teacher") == tmp_path / "teacher"
    model, notes = CLASSES[task].from_pretrained(tmp_path / "teacher", output_loading_info=True)
    assert not any(notes.values())
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "teacher")
    assert tokenizer.is_fast and tokenizer.model_max_length == 384
    made = make_task(task, FeatureSettings(), demo.LABELS[task])
    scores = evaluate(model, made, tokenizer, demo.examples(task, "dev", 60, 0))
    assert scores[made.metric_names[0]] > least
    assert scores[made.metric_names[0]] < 100.0


def test_the_config_names_the_labels(tmp_path: Path) -> None:
    demo_teacher("token-classification", tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    assert tuple(config["id2label"].values()) == demo.LABELS["token-classification"]
    assert config["architectures"] == ["BertForTokenClassification"]
    assert (tmp_path / "tokenizer.json").exists() and (tmp_path / "model.safetensors").exists()


def test_the_package_stays_small() -> None:
    assert teacher.WEIGHTS.stat().st_size < 4_000_000


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="could not be written to"):
        demo_teacher("text-classification", tmp_path / "file" / "teacher")
