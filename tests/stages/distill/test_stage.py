"""The stage: every loss lowers, every task and family works, impossible wishes are refused before training."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

import compressor.stages.distill.stage as stage
from compressor.config.schema import parse
from compressor.errors import CheckpointError, RequestError, UnknownNameError
from compressor.models import checkpoint as checkpoints
from compressor.stages.distill.settings import DistillSettings
from compressor.tasks import Task
from tests.stages.distill.conftest import make_checkpoint, make_context, tiny_task

NONE = {"logits": 0.0}


def settings(**changes: Any) -> DistillSettings:
    values = {"epochs": 8.0, "batch_size": 8, "learning_rate": 3e-3, "warmup": 0.0, "precision": "float32"}
    return parse(DistillSettings, {**values, **changes}, where="test")


@pytest.mark.parametrize(
    "chosen",
    [
        {"logits": 1.0},
        {**NONE, "labels": 1.0},
        {**NONE, "hidden": 1.0},
        {**NONE, "cosine": 1.0},
        {**NONE, "attention": 1.0},
        {**NONE, "minilm": 1.0},
        {**NONE, "relations": 1.0, "relation_heads": 8},
        {"labels": 0.5, "hidden": 1.0, "attention": 0.1, "relations": 1.0},
    ],
    ids=lambda chosen: "+".join(name for name, weight in chosen.items() if weight),
)
def test_each_loss_lowers(tmp_path: Path, question_task: Task, losses: list[float], chosen: dict[str, Any]) -> None:
    teacher = make_checkpoint(tmp_path / "teacher", question_task, layers=4, seed=1)
    student = make_checkpoint(tmp_path / "student", question_task, layers=2, seed=2)
    result = stage.run(student, settings(**chosen), make_context(tmp_path, question_task, teacher))
    assert sum(losses[-3:]) < 0.8 * sum(losses[:3])
    before = checkpoints.load(student.path, question_task).state_dict()
    after = checkpoints.load(result.path, question_task).state_dict()
    assert before.keys() == after.keys()
    assert any(not torch.equal(before[name], after[name]) for name in before)


@pytest.mark.parametrize("name", ["text-classification", "text-regression", "token-classification", "multi-label"])
def test_logits_of_each_task(tmp_path: Path, losses: list[float], name: str) -> None:
    multi_label = name == "multi-label"
    task = tiny_task("text-classification" if multi_label else name, multi_label=multi_label)
    teacher = make_checkpoint(tmp_path / "teacher", task, layers=3, seed=1)
    student = make_checkpoint(tmp_path / "student", task, layers=1, seed=2)
    stage.run(student, settings(), make_context(tmp_path, task, teacher))
    assert sum(losses[-3:]) < 0.8 * sum(losses[:3])


@pytest.mark.parametrize("family", ["roberta", "electra", "distilbert"])
def test_families(tmp_path: Path, question_task: Task, losses: list[float], family: str) -> None:
    teacher = make_checkpoint(tmp_path / "teacher", question_task, "bert", layers=2, seed=1)
    student = make_checkpoint(tmp_path / "student", question_task, family, layers=2, seed=2)
    mixed = settings(hidden=1.0, attention=0.1, minilm=1.0, relations=1.0)
    stage.run(student, mixed, make_context(tmp_path, question_task, teacher))
    assert sum(losses[-3:]) < 0.8 * sum(losses[:3])


def test_a_length_adaptive_student_learns_at_full_length(
    tmp_path: Path, question_task: Task, losses: list[float]
) -> None:
    teacher = make_checkpoint(tmp_path / "teacher", question_task, seed=1)
    stock = make_checkpoint(tmp_path / "stock", question_task, seed=2)
    adaptive = make_checkpoint(tmp_path / "adaptive", question_task, seed=2, adaptive=True)
    mixed = settings(hidden=1.0, relations=1.0, max_steps=1, epochs=1.0)
    stage.run(stock, mixed, make_context(tmp_path / "a", question_task, teacher))
    result = stage.run(adaptive, mixed, make_context(tmp_path / "b", question_task, teacher))
    assert losses[1] == pytest.approx(losses[0], rel=0.1)  # dropout draws differ
    loaded = checkpoints.load(result.path, question_task)
    assert checkpoints.structure_of(loaded).length_adaptive.keep == [0.5, 0.5]  # type: ignore[union-attr]


def test_a_new_student_of_another_width_has_projections_only_while_it_learns(
    tmp_path: Path, question_task: Task, losses: list[float]
) -> None:
    teacher = make_checkpoint(tmp_path / "teacher", question_task, layers=4, seed=1)
    shape = {"layers": 2, "hidden_size": 16, "heads": 2, "intermediate_size": 24}
    wishes = settings(student=shape, hidden=1.0, relations=1.0, relation_heads=4)
    result = stage.run(teacher, wishes, make_context(tmp_path, question_task, teacher))
    assert sum(losses[-3:]) < 0.8 * sum(losses[:3])
    config = json.loads((result.path / "config.json").read_text())
    assert (config["num_hidden_layers"], config["hidden_size"]) == (2, 16)
    assert (config["num_attention_heads"], config["intermediate_size"]) == (2, 24)
    model = checkpoints.load(result.path, question_task)
    assert not [name for name in model.state_dict() if "projection" in name]
    assert checkpoints.load_tokenizer(result.path).get_vocab() == checkpoints.load_tokenizer(teacher.path).get_vocab()


def test_two_distillations_one_after_the_other(tmp_path: Path, question_task: Task, losses: list[float]) -> None:
    teacher = make_checkpoint(tmp_path / "teacher", question_task, layers=4, seed=1)
    student = make_checkpoint(tmp_path / "student", question_task, layers=2, seed=2)
    first = settings(**NONE, hidden=1.0, attention=0.1)
    between = stage.run(student, first, make_context(tmp_path / "a", question_task, teacher))
    stage.run(between, settings(temperature=1.0), make_context(tmp_path / "b", question_task, teacher))
    half = len(losses) // 2
    assert sum(losses[half - 3 : half]) < 0.8 * sum(losses[:3])
    assert sum(losses[-3:]) < 0.9 * sum(losses[half : half + 3])


def test_the_teacher_stays_as_it_is(tmp_path: Path, question_task: Task) -> None:
    teacher = make_checkpoint(tmp_path / "teacher", question_task, seed=1)
    before = {path.name: path.read_bytes() for path in teacher.path.iterdir()}
    stage.run(teacher, settings(max_steps=1), make_context(tmp_path, question_task, teacher))
    assert {path.name: path.read_bytes() for path in teacher.path.iterdir()} == before


@pytest.mark.parametrize(
    ("wish", "message"),
    [
        ({"logits": 0.0}, "every loss has the weight 0"),
        ({"relations": 1.0, "teacher_layer": 5}, "teacher_layer 5 does not exist; the teacher has 4 layers"),
        ({"relations": 1.0, "relation_heads": 5}, "relation_heads 5 does not divide the student's width 24"),
        ({"minilm": 1.0}, "'minilm' compares attention heads one by one, but the student has 2 and the teacher 4"),
        ({"attention": 1.0}, "'attention' compares attention heads"),
        ({"cosine": 1.0}, "'cosine' needs equal widths, but the student's is 24 and the teacher's 32"),
        ({"hidden": 1.0, "layer_map": [1]}, "layer_map has 1 entries, the student has 2 layers"),
        ({"hidden": 1.0, "layer_map": [1, 5]}, r"layer_map \[1, 5\] must name teacher layers from 1 to 4"),
        ({"student": {"hidden_size": 30}}, "student.hidden_size 30 is not a multiple of student.heads 4"),
        ({"temperature": 0.0}, "temperature"),
        ({"layer_map": "first"}, "layer_map"),
    ],
)
def test_impossible_settings(
    tmp_path: Path, question_task: Task, monkeypatch: pytest.MonkeyPatch, wish: dict[str, Any], message: str
) -> None:
    monkeypatch.setattr(stage, "train", lambda *_, **__: pytest.fail("training began"))
    teacher = make_checkpoint(tmp_path / "teacher", question_task, layers=4)
    student = make_checkpoint(tmp_path / "student", question_task, layers=2, hidden=24, heads=2)
    with pytest.raises(RequestError, match=message):
        stage.run(student, settings(**wish), make_context(tmp_path, question_task, teacher))


def test_unknown_keys_name_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="'temprature'.*did you mean 'temperature'"):
        settings(temprature=1.0)
    with pytest.raises(UnknownNameError, match="'layer'.*did you mean 'layers'"):
        settings(student={"layer": 2})


def test_another_vocabulary(tmp_path: Path, question_task: Task) -> None:
    teacher = make_checkpoint(tmp_path / "teacher", question_task)
    student = make_checkpoint(tmp_path / "student", question_task, words=[f"x{i}" for i in range(34)])
    with pytest.raises(RequestError, match="different vocabularies"):
        stage.run(student, settings(), make_context(tmp_path, question_task, teacher))


def test_a_teacher_without_a_head_can_teach_relations_but_no_logits(tmp_path: Path, question_task: Task) -> None:
    teacher = make_checkpoint(tmp_path / "teacher", tiny_task("text-classification"))
    student = make_checkpoint(tmp_path / "student", question_task, seed=2)
    context = make_context(tmp_path, question_task, teacher)
    stage.run(student, settings(**NONE, relations=1.0, max_steps=1), context)
    with pytest.raises(CheckpointError, match="has no head for question-answering"):
        stage.run(student, settings(), context)
