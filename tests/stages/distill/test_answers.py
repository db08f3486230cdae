"""Answers that are read once: kept, found again, of several teachers, to texts without labels."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import compressor.stages.distill.answers as answers_module
import compressor.stages.distill.stage as stage
from compressor.config.run import FeatureSettings
from compressor.errors import CheckpointError, CompressorError, DataError, RequestError
from compressor.models import checkpoint as checkpoints
from compressor.stages.context import Checkpoint, Make
from compressor.stages.distill.answers import answers
from compressor.stages.distill.augmentation import augmented
from compressor.stages.distill.ensemble import together
from compressor.stages.distill.kept import ROW, all_answers, numbered, worth_keeping
from compressor.stages.distill.more_examples import learning_examples, unlabelled_examples
from compressor.stages.distill.settings import AugmentSettings
from compressor.stages.registry import stage_spec
from compressor.tasks import make_task
from compressor.tasks.examples import QuestionExample, ScoredExample, TextExample, TokenExample
from compressor.training import collate, predict
from tests.stages.distill.conftest import (
    WORDS,
    make_checkpoint,
    make_context,
    make_examples,
    make_tokenizer,
    model_config,
    tiny_task,
)
from tests.stages.distill.test_other_students import pruned
from tests.stages.distill.test_stage import settings

TASKS = ["text-classification", "question-answering", "token-classification", "text-regression"]


@pytest.mark.parametrize("name", TASKS)
def test_kept_answers_teach_what_a_running_teacher_teaches(
    tmp_path: Path, losses: list[float], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    task = tiny_task(name)
    teacher = make_checkpoint(tmp_path / "teacher", task, seed=1)
    student = make_checkpoint(tmp_path / "student", task, layers=1, seed=2)
    wishes = settings(max_steps=3, labels=0.5)
    stage.run(student, wishes, make_context(tmp_path / "kept", task, teacher))
    kept, losses[:] = list(losses), []
    monkeypatch.setattr(stage, "worth_keeping", lambda *_: False)
    stage.run(student, wishes, make_context(tmp_path / "live", task, teacher))
    assert kept == pytest.approx(losses, rel=1e-4)


def test_answers_are_computed_once_and_go_on_after_a_kill(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    task = tiny_task("question-answering")
    teacher = make_checkpoint(tmp_path / "teacher", task, seed=1)
    asked: list[int] = []

    def watched(model: Any, features: Any, *more: Any) -> Any:
        asked.append(len(features))
        if len(asked) == 3:
            raise KeyboardInterrupt
        return predict(model, features, *more)

    monkeypatch.setattr(answers_module, "predict", watched)
    monkeypatch.setattr(answers_module, "_PART", 10)
    tokenizer = checkpoints.load_tokenizer(teacher.path)
    context = make_context(tmp_path, task, teacher)
    features = task.features(context.data.train, tokenizer, labelled=False)
    with pytest.raises(KeyboardInterrupt):
        answers(teacher, features, tokenizer, settings(), context)
    found = answers(teacher, features, tokenizer, settings(), context)
    assert asked == [10, 10, len(features) - 20, len(features) - 20]
    answers(teacher, features, tokenizer, settings(), context)
    assert len(asked) == 4
    expected = predict(checkpoints.load(teacher.path, task), features, tokenizer, 4)
    for index, row in enumerate(expected):
        for output, value in row.items():
            np.testing.assert_allclose(found.row(index)[output], value, atol=1e-4)


def test_the_runs_cache_is_asked(tmp_path: Path) -> None:
    task = tiny_task("text-classification")
    teacher = make_checkpoint(tmp_path / "teacher", task)
    asked: list[Any] = []

    def keep(kind: str, parts: Any, source: Checkpoint, title: str, make: Make) -> Path:
        asked.append((kind, dict(parts), source.path))
        folder = tmp_path / f"kept{len(asked)}"
        folder.mkdir()
        make(folder, tmp_path / f"parts{len(asked)}")
        return folder

    for number, count in enumerate((24, 24, 20)):
        context = make_context(tmp_path / str(number), task, teacher, count)
        stage.run(teacher, settings(max_steps=3), dataclasses.replace(context, keep=keep))
    assert asked[0] == asked[1]
    assert asked[0][1]["rows"] != asked[2][1]["rows"]
    assert asked[0][2] == teacher.path


def test_when_it_is_worth_it() -> None:
    assert worth_keeping(settings(), 24)
    assert worth_keeping(settings(max_steps=3), 24)
    assert not worth_keeping(settings(max_steps=2), 24)
    assert not worth_keeping(settings(epochs=0.5), 24)
    assert not worth_keeping(settings(hidden=1.0), 24)
    assert not worth_keeping(settings(logits=0.0, labels=1.0), 24)


@pytest.mark.parametrize("name", [*TASKS, "multi-label"])
def test_several_teachers_say_the_mean_of_their_probabilities(name: str) -> None:
    task = tiny_task("text-classification" if name == "multi-label" else name, multi_label=name == "multi-label")
    rows = [np.random.default_rng(seed).normal(size=(5, 3) if name == "token-classification" else 6) for seed in (1, 2)]
    found, first, second = (torch.tensor(row) for row in (together(task, rows), *rows))
    if name == "text-regression":
        torch.testing.assert_close(found, (first + second) / 2)
    elif name == "multi-label":
        torch.testing.assert_close(found.sigmoid(), (first.sigmoid() + second.sigmoid()) / 2)
    else:
        torch.testing.assert_close(found.softmax(-1), (first.softmax(-1) + second.softmax(-1)) / 2)
    assert together(task, rows[:1]) is rows[0]


@pytest.mark.parametrize("name", ["text-classification", "question-answering"])
def test_a_student_of_two_teachers(tmp_path: Path, losses: list[float], name: str) -> None:
    task = tiny_task(name)
    first, second = (make_checkpoint(tmp_path / f"teacher{seed}", task, seed=seed) for seed in (1, 2))
    context = make_context(tmp_path, task, first)
    stage.run(first, settings(teachers=[str(second.path)], student={"layers": 1}), context)
    assert sum(losses[-3:]) < 0.8 * sum(losses[:3])
    assert settings(teachers=["here"]).checkpoints() == ["here"]


@pytest.mark.parametrize("kinds", [(1, 2), (2, 1)])
@pytest.mark.parametrize("name", ["text-classification", "question-answering"])
def test_teachers_of_one_vocabulary_and_other_segments(tmp_path: Path, kinds: tuple[int, int], name: str) -> None:
    """What one of them does not read is not given to it; of whole texts each gets its own."""
    task = tiny_task(name)
    made = []
    for count in kinds:
        model = checkpoints.build({**model_config("bert", 2, 32, 4), "type_vocab_size": count}, task, seed=count)
        for parameter in model.parameters():
            parameter.data.mul_(5)  # so that segments matter
        checkpoints.save(model, make_tokenizer(WORDS), tmp_path / str(count))
        made.append(Checkpoint(tmp_path / str(count), str(count)))
    examples: Any = make_examples(name, 6)
    if name == "text-classification":
        examples = [dataclasses.replace(row, pair="w2 w3") for row in examples]
    own, other = (checkpoints.load_tokenizer(one.path) for one in made)
    rows = task.features(examples, own, labelled=False)
    found = all_answers(
        settings(teachers=[str(made[1].path)]), examples, rows, own, make_context(tmp_path, task, made[0])
    )[1]

    read = task.features(examples, other, labelled=False)
    if name == "question-answering" and kinds == (1, 2):  # it reads the student's rows, which have no segments
        read = [dataclasses.replace(row, inputs={**row.inputs, "token_type_ids": [0] * row.length}) for row in read]
    expected = predict(checkpoints.load(made[1].path, task), read, other, 8)
    for index, row in enumerate(expected):
        for output in task.output_names:
            got = found.row(index)[output]
            np.testing.assert_allclose(got, np.asarray(row[output])[: got.shape[0]], atol=1e-4)


def test_a_teacher_of_whole_texts_reads_them_by_its_own_tokenizer(tmp_path: Path) -> None:
    task = tiny_task("text-classification")
    teacher = make_checkpoint(tmp_path / "teacher", task, seed=1)
    student = pruned(tmp_path, task, teacher, 5)  # most words become [UNK]
    context = make_context(tmp_path, task, teacher)
    tokenizer = checkpoints.load_tokenizer(student.path)
    features = task.features(context.data.train, tokenizer, labelled=False)
    (found,) = all_answers(settings(), context.data.train, features, tokenizer, context)
    own = checkpoints.load_tokenizer(teacher.path)
    rows = task.features(context.data.train, own, labelled=False)
    expected = predict(checkpoints.load(teacher.path, task), rows, own, 8)
    got = np.stack([found.row(index)["logits"] for index in range(len(rows))])
    np.testing.assert_allclose(got, np.stack([row["logits"] for row in expected]), atol=1e-4)


def test_rows_carry_their_number() -> None:
    task = tiny_task("text-classification")
    tokenizer = make_tokenizer(WORDS)
    features = numbered(task.features(make_examples(task.name, 5), tokenizer, labelled=True))
    inputs, _ = collate([features[3], features[1]], tokenizer, task)
    assert inputs[ROW][:, 0].tolist() == [3, 1]


def test_changed_copies() -> None:
    texts = [TextExample(f"a{i} b{i} c{i} d{i}", "x y", labels=("red",)) for i in range(50)]
    changes = AugmentSettings(copies=4, mask=0.3, replace=0.3, ngram=0.5, longest_ngram=2)
    found: list[Any] = augmented(texts, changes, "[MASK]", 1)
    assert found == augmented(texts, changes, "[MASK]", 1) != augmented(texts, changes, "[MASK]", 2)
    assert 150 < len(found) <= 200
    assert all(example.labels == () for example in found)
    words = [word for example in found for word in example.text.split()]
    assert 0.2 < words.count("[MASK]") / len(words) < 0.4
    assert any(len(example.text.split()) <= 2 for example in found)
    known = {word for text in texts for word in f"{text.text} {text.pair}".split()} | {"[MASK]"}
    assert set(words) <= known
    assert "[MASK]" not in " ".join(example.text for example in augmented(texts, changes, "", 1))  # type: ignore[union-attr]
    (question,) = augmented(
        [QuestionExample("1", "what is it", "the context")], AugmentSettings(copies=1, mask=1.0, replace=0.0), "?", 0
    )
    assert question == QuestionExample("1", "? ? ?", "the context")
    cut = augmented([TokenExample(("u", "v", "w"), ("O",) * 3)], AugmentSettings(copies=9, mask=0, replace=0), "?", 0)
    assert all(isinstance(one, TokenExample) and one.tags == () and len(one.words) < 3 for one in cut)


def test_texts_without_labels(tmp_path: Path, losses: list[float]) -> None:
    file = tmp_path / "texts.txt"
    file.write_text("w1 the w2 is red\nw3 w4\tw5 blue\n\nw7 the\n")
    task = tiny_task("text-classification")
    teacher = make_checkpoint(tmp_path / "teacher", task, seed=1)
    context = make_context(tmp_path, task, teacher)
    wishes = settings(unlabelled=str(file), augment={"copies": 2}, student={"layers": 1})
    tokenizer = checkpoints.load_tokenizer(teacher.path)
    examples = learning_examples(wishes, context, tokenizer)
    assert examples[24:27] == [
        TextExample("w1 the w2 is red"), TextExample("w3 w4", "w5 blue"), TextExample("w7 the"),
    ]  # fmt: skip
    assert 40 < len(examples) <= 81
    assert wishes.files() == [str(file)]
    stage.run(teacher, wishes, context)
    assert sum(losses[-3:]) < 0.8 * sum(losses[:3])
    assert unlabelled_examples(str(file), tiny_task("text-regression"))[1] == ScoredExample("w3 w4", "w5 blue")
    with pytest.raises(DataError, match="line 1: a question, a tab and its context is needed"):
        unlabelled_examples(str(file), tiny_task("question-answering"))
    with pytest.raises(DataError, match="line 2: one sentence without tabs is needed"):
        unlabelled_examples(str(file), tiny_task("token-classification"))
    file.write_text("who?\tw1 is red\n")
    (question,) = unlabelled_examples(str(file), tiny_task("question-answering"))
    assert isinstance(question, QuestionExample)
    assert (question.question, question.context) == ("who?", "w1 is red")


def test_what_contradicts_itself(tmp_path: Path) -> None:
    for wish in ({"unlabelled": "x"}, {"augment": {}}):
        with pytest.raises(RequestError, match="add texts without labels"):
            settings(**wish, labels=1.0)
    with pytest.raises(RequestError, match="several teachers agree on answers"):
        settings(teachers=["x"], hidden=1.0)
    with pytest.raises(RequestError, match="at most 1 in all"):
        settings(augment={"mask": 0.6, "replace": 0.6})
    task = tiny_task("text-classification")
    teacher = make_checkpoint(tmp_path / "teacher", task)
    other = make_checkpoint(tmp_path / "other", tiny_task("question-answering"))
    with pytest.raises(CheckpointError, match="other has no head for text-classification"):
        stage.run(teacher, settings(teachers=[str(other.path)]), make_context(tmp_path, task, teacher))


@pytest.mark.parametrize("name", TASKS)
def test_what_a_distillation_is_given_is_looked_at_before_any_work(tmp_path: Path, name: str) -> None:
    task = tiny_task(name)
    teacher = make_checkpoint(tmp_path / "teacher", task)
    data = make_context(tmp_path, task, teacher).data
    good, bad = tmp_path / "good.txt", tmp_path / "bad.txt"
    good.write_text("why is it\tw1 is red\n" if name == "question-answering" else "w1 is red\n")
    bad.write_text("a\tb\tc\n")
    headless = make_checkpoint(tmp_path / "headless", tiny_task("text-classification" if "ques" in name else TASKS[1]))
    spec = stage_spec("distill")
    spec.check_inputs(settings(unlabelled=str(good), teachers=[str(teacher.path)]), teacher.path, data)
    for wishes, error in (
        ({"unlabelled": str(bad)}, f"bad.txt, line 1: .* is needed for {name}"),
        ({"unlabelled": str(tmp_path / "none.txt")}, "none.txt"),
        ({"teachers": [str(headless.path)]}, f"headless has no head for {name}"),
        ({"teachers": [str(tmp_path / "nowhere")]}, "nowhere"),
    ):
        with pytest.raises(CompressorError, match=error):
            spec.check_inputs(settings(**wishes), teacher.path, data)
    foreign = make_checkpoint(tmp_path / "foreign", task, words=["crimson" if w == "red" else w for w in WORDS])
    if task.restores_tokens:
        with pytest.raises(CompressorError, match="have different vocabularies: 'red' of the student means nothing"):
            spec.check_inputs(settings(teachers=[str(foreign.path)]), teacher.path, data)
    else:  # each reads texts in its own way
        spec.check_inputs(settings(teachers=[str(foreign.path)]), teacher.path, data)


@pytest.mark.parametrize("named", [True, False])
def test_a_further_teacher_of_other_labels_is_refused_before_any_work(tmp_path: Path, named: bool) -> None:
    """Also where the run's teacher is yet to be fine-tuned, so that only the data know the labels."""
    task = tiny_task("text-classification")
    teacher = make_checkpoint(tmp_path / "teacher", task if named else tiny_task("question-answering"))
    swapped = make_task(task.name, FeatureSettings(), ("blue", "red"))
    other = make_checkpoint(tmp_path / "other", swapped)
    data = make_context(tmp_path, task, teacher).data
    with pytest.raises(CheckpointError, match="was trained for the labels blue, red in this order"):
        stage_spec("distill").check_inputs(settings(teachers=[str(other.path)]), teacher.path, data)
