"""Students of another kind and of another vocabulary, from the teacher to an int8 graph."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import compressor.stages.distill.stage as stage
from compressor.config.device import DeviceProfile, Provider
from compressor.config.schema import parse
from compressor.errors import RequestError
from compressor.graph.context import PassContext
from compressor.graph.export import export
from compressor.graph.registry import pass_spec, run_pass
from compressor.models import checkpoint as checkpoints
from compressor.models.structure import LengthAdaptive, Structure, with_structure
from compressor.progress import Silent
from compressor.stages.context import Checkpoint
from compressor.stages.distill.settings import DistillSettings
from compressor.stages.distill.shape import shape
from compressor.stages.distill.student import start_embeddings
from compressor.stages.prune_vocabulary.settings import PruneVocabularySettings
from compressor.stages.prune_vocabulary.stage import run as prune_vocabulary
from compressor.stages.registry import stage_spec
from compressor.stages.teacher import load_teacher
from tests.models.test_widths import run as run_graph
from tests.stages.distill.conftest import make_checkpoint, make_context, make_examples, model_config, tiny_task
from tests.stages.distill.test_stage import settings

SHAPES: dict[str, dict[str, Any]] = {
    "bilstm": {"kind": "bilstm", "hidden_size": 32, "embedding_size": 16},
    "cnn": {"kind": "cnn", "hidden_size": 36, "windows": [2, 3]},
}
TASKS = ["text-classification", "question-answering", "token-classification", "text-regression"]


@pytest.mark.parametrize(
    ("kind", "task_name"), [*(("bilstm", name) for name in TASKS), ("cnn", TASKS[0]), ("cnn", TASKS[1])]
)
def test_they_learn_the_teachers_answers(
    tmp_path: Path,
    losses: list[float],
    kind: str,
    task_name: str,
) -> None:
    task = tiny_task(task_name)
    teacher = make_checkpoint(tmp_path / "teacher", task, seed=1)
    result = stage.run(teacher, settings(student=SHAPES[kind]), make_context(tmp_path, task, teacher))
    assert sum(losses[-3:]) < 0.8 * sum(losses[:3])
    model: Any = checkpoints.load(result.path, task)
    other = checkpoints.structure_of(model).other_encoder
    assert other is not None
    assert other.summary is not task.restores_tokens
    again = stage.run(result, settings(labels=1.0, max_steps=1), make_context(tmp_path / "again", task, teacher))
    assert checkpoints.structure_of(checkpoints.load(again.path, task)).other_encoder == other


@pytest.mark.parametrize("kind", SHAPES)
def test_they_fuse_and_quantize(tmp_path: Path, kind: str) -> None:
    task = tiny_task("text-classification")
    teacher = make_checkpoint(tmp_path / "teacher", task)
    context = make_context(tmp_path, task, teacher)
    wide = {**SHAPES[kind], "hidden_size": 96}
    result = stage.run(teacher, settings(student=wide, max_steps=1), context)
    export(result, task, tmp_path / "plain.onnx", opset=17, dial="fixed")
    tokenizer = checkpoints.load_tokenizer(result.path)
    device = DeviceProfile(name="test", description="", providers=[Provider(name="CPUExecutionProvider")])
    given = PassContext(
        task=task, data=context.data, tokenizer=tokenizer, checkpoint=result, device=device, seed=0, progress=Silent()
    )
    fused = run_pass(pass_spec("fuse"), tmp_path / "plain.onnx", tmp_path / "fused.onnx", _default("fuse"), given)
    assert fused.notes["layout"] == "none"
    quantized = run_pass(
        pass_spec("quantize"), tmp_path / "fused.onnx", tmp_path / "int8.onnx",
        _default("quantize", mode="dynamic", smallest_width=2), given,
    )  # fmt: skip
    assert quantized.notes["quantized"] == (3 if kind == "bilstm" else 4)
    batch = tokenizer([example.text for example in make_examples(task.name, 6)], padding=True, return_tensors="pt")
    exact, rounded = (
        run_graph(tmp_path / f"{name}.onnx", batch.input_ids, batch.attention_mask)[0] for name in ("plain", "int8")
    )
    np.testing.assert_allclose(rounded, exact, atol=0.05 * float(np.abs(exact).max()) + 0.02)


def test_what_is_inside_cannot_be_compared(tmp_path: Path) -> None:
    task = tiny_task("text-classification")
    teacher = make_checkpoint(tmp_path / "teacher", task)
    config = checkpoints.read_config(teacher.path)
    for loss in ("hidden", "attention", "relations", "cosine", "minilm"):
        with pytest.raises(RequestError, match=f"'{loss}' compares .* and the student has none"):
            shape(config, config, settings(student=SHAPES["bilstm"], **{loss: 1.0}))
    with pytest.raises(RequestError, match="the student has none"):
        stage.run(teacher, settings(student=SHAPES["cnn"], hidden=1.0), make_context(tmp_path, task, teacher))


BEFORE: list[tuple[str, dict[str, Any], str]] = [
    ("drop_layers", {"layers": 1}, "layers 1 in the place of 2"),
    ("prune_widths", {"heads": 0.5}, "widths"),
    ("prune_widths", {"feed_forward": 0.5}, "feed-forward width 32 in the place of 64"),
    ("prune_widths", {"hidden": 0.5}, "widths, hidden size 16 in the place of 32"),
    ("squeeze", {}, "hidden size 16 in the place of 32, heads 2 in the place of 4, feed-forward width 32 in the place"),
    ("dynabert", {"widths": [1.0, 0.5]}, "the sizes of dynabert"),
    ("low_rank", {"ratio": 0.5}, "low_rank"),
    ("length_adaptive", {}, "length_adaptive"),
]


@pytest.mark.parametrize(("name", "values", "lost"), BEFORE)
def test_a_new_student_does_not_lose_what_was_made_of_the_model(name: str, values: dict[str, Any], lost: str) -> None:
    teacher = model_config("bert", 2, 32, 4)
    spec = stage_spec(name)
    before = spec.load_shape()(teacher, teacher, spec.load_settings()(**values))
    for student in ({"kind": "transformer", "hidden_size": 16}, SHAPES["bilstm"]):
        with pytest.raises(RequestError, match=rf"\({lost}.*\) would be lost: put distill first, or learn with"):
            shape(before, teacher, settings(student=student))
    assert shape(before, teacher, settings()) == before
    assert shape(teacher, teacher, settings(student={"hidden_size": 16}))["hidden_size"] == 16


def test_a_new_student_loses_what_a_stage_changed_of_the_teachers_own_kind() -> None:
    teacher = with_structure(model_config("bert", 2, 32, 4), Structure(length_adaptive=LengthAdaptive(keep=[1.0, 1.0])))
    before = with_structure(teacher, Structure(length_adaptive=LengthAdaptive(keep=[0.5, 0.5])))
    with pytest.raises(RequestError, match=r"\(length_adaptive\) would be lost"):
        shape(before, teacher, settings(student={"hidden_size": 16}))
    assert shape(teacher, teacher, settings(student={"hidden_size": 16}))["hidden_size"] == 16


@torch.no_grad()
def test_embeddings_start_from_the_previous_ones(tmp_path: Path) -> None:
    table = torch.randn(39, 24) @ torch.randn(24, 32) / 5
    for width in (24, 32, 40):
        student = checkpoints.build(model_config("bert", 1, width, 1), tiny_task("text-classification"))
        start_embeddings(student, table)
        own = student.get_input_embeddings().weight  # type: ignore[operator]
        torch.testing.assert_close(own @ own.T, table @ table.T, atol=1e-3, rtol=1e-3)  # rank 24: nothing is lost
    narrow = checkpoints.build(model_config("bert", 1, 8, 1), tiny_task("text-classification"))
    start_embeddings(narrow, table)
    strength = narrow.get_input_embeddings().weight.norm() ** 2  # type: ignore[operator]
    assert float(strength) == pytest.approx(float(torch.linalg.svdvals(table)[:8].square().sum()), rel=1e-3)


def pruned(tmp_path: Path, task: Any, teacher: Checkpoint, words: int = 20) -> Checkpoint:
    """The teacher with only the first pieces of its vocabulary and those of the last."""
    keep = tmp_path / "keep"
    keep.write_text("\n".join([f"w{number}" for number in range(words)] + ["red", "blue", "the", "is"]))
    context = make_context(tmp_path / "pruned", task, teacher)
    return prune_vocabulary(teacher, PruneVocabularySettings(keep_file=str(keep)), context)


@pytest.mark.parametrize("mixed", [{}, {"hidden": 1.0, "attention": 0.1}], ids=["logits", "inside"])
@pytest.mark.parametrize("task_name", TASKS)
def test_a_smaller_vocabulary_learns_from_the_whole_one(
    tmp_path: Path,
    losses: list[float],
    task_name: str,
    mixed: dict[str, float],
) -> None:
    task = tiny_task(task_name)
    teacher = make_checkpoint(tmp_path / "teacher", task, seed=1)
    student = pruned(tmp_path, task, teacher, 30)
    quiet = settings(learning_rate=1e-9, max_steps=2, **mixed)
    stage.run(student, quiet, make_context(tmp_path / "same", task, teacher))
    own, losses[:] = list(losses), []
    stage.run(teacher, quiet, make_context(tmp_path / "whole", task, teacher))
    assert own == pytest.approx(losses, rel=1e-4)  # the same model, but for its ids


def test_the_teacher_reads_the_students_pieces(tmp_path: Path) -> None:
    task = tiny_task("text-classification")
    teacher = make_checkpoint(tmp_path / "teacher", task, "roberta", seed=1)
    student = pruned(tmp_path, task, teacher)
    context = make_context(tmp_path, task, teacher)
    tokenizer = checkpoints.load_tokenizer(student.path)
    whole, small = load_teacher(context, checkpoints.load_tokenizer(teacher.path)), load_teacher(context, tokenizer)
    text = "w3 the w7 is red"
    before = checkpoints.load_tokenizer(teacher.path)(text, return_tensors="pt", return_token_type_ids=False)
    after = tokenizer(text, return_tensors="pt", return_token_type_ids=False)
    assert not torch.equal(before.input_ids, after.input_ids)
    torch.testing.assert_close(whole(**before).logits, small(**after).logits)
    assert not small.training
    assert not any(parameter.requires_grad for parameter in small.parameters())


def test_a_new_student_has_the_previous_vocabulary(tmp_path: Path) -> None:
    task = tiny_task("text-classification")
    teacher = make_checkpoint(tmp_path / "teacher", task, seed=1)
    student = pruned(tmp_path, task, teacher)
    wishes = parse(DistillSettings, {"student": {"layers": 1}, "max_steps": 1}, where="test")
    result = stage.run(student, wishes, dataclasses.replace(make_context(tmp_path, task, teacher)))
    known = checkpoints.load_tokenizer(student.path).get_vocab()
    assert checkpoints.load_tokenizer(result.path).get_vocab() == known
    assert checkpoints.read_config(result.path)["vocab_size"] == len(known) == 29


def _default(name: str, **chosen: Any) -> Any:
    return parse(pass_spec(name).load_settings(), chosen, where="test")
