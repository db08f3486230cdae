"""The sandwich rule on real models, and the stage from checkpoint to checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from compressor.errors import CheckpointError, RequestError
from compressor.models import checkpoint
from compressor.models.structure import LengthAdaptive, Structure
from compressor.stages.length_adaptive import stage
from compressor.stages.length_adaptive.divergence import mean_divergence
from compressor.stages.length_adaptive.objective import SandwichObjective, output_kind
from compressor.stages.length_adaptive.settings import LengthAdaptiveSettings
from compressor.stages.length_adaptive.shape import shape
from compressor.tasks import Task
from compressor.training import collate, predict
from tests.stages.distill.conftest import make_checkpoint, make_context, make_examples, tiny_task

TASK_NAMES = ["question-answering", "text-classification", "token-classification"]
ALL_TASKS = [*TASK_NAMES, "text-regression"]


def batch_of(task: Task, path: Path) -> tuple[Any, Any, Any]:
    model, tokenizer = checkpoint.load(path, task), checkpoint.load_tokenizer(path)
    examples = make_examples(task.name, 6, multi_label=task.multi_label)
    inputs, labels = collate(task.features(examples, tokenizer, labelled=True), tokenizer, task)
    return model, inputs, labels


@pytest.mark.parametrize(("name", "multi_label"), [*((name, False) for name in ALL_TASKS), (TASK_NAMES[1], True)])
def test_losses_are_those_of_the_paper(tmp_path: Path, name: str, multi_label: bool) -> None:
    task = tiny_task(name, multi_label=multi_label)
    path = make_checkpoint(tmp_path, task, layers=3, adaptive=True).path
    model, inputs, labels = batch_of(task, path)
    settings = LengthAdaptiveSettings(sandwich=2)
    objective = SandwichObjective(task, settings, 3, seed=5)
    losses = list(objective(model, inputs, labels, 4))

    passes = objective.drawn(inputs["input_ids"].shape[1], 4)
    with torch.no_grad():
        outputs = [model(**inputs, counts=one.counts, skip_layers=one.skipped) for one in passes]
        expected = [task.loss(outputs[0], labels)]
        for sub in outputs[1:]:
            expected.append(
                mean_divergence(
                    sub, outputs[0], task.output_names, output_kind(task), inputs["attention_mask"], "reverse"
                )
            )
    assert len(losses) == 4
    assert [loss.item() for loss in losses] == pytest.approx([float(value) / 4 for value in expected], rel=1e-4)


@pytest.mark.parametrize("name", ALL_TASKS)
def test_every_pass_follows_a_guide_and_no_label_is_read(tmp_path: Path, name: str) -> None:
    task = tiny_task(name)
    model, inputs, _ = batch_of(task, make_checkpoint(tmp_path / "student", task, adaptive=True).path)
    guide, _, _ = batch_of(task, make_checkpoint(tmp_path / "guide", task).path)
    with torch.no_grad():
        for parameter in guide.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    settings = LengthAdaptiveSettings(sandwich=1, guide="teacher", kl_direction="forward")
    objective = SandwichObjective(task, settings, 2, seed=5, guide=guide)
    losses = [loss.item() for loss in objective(model, inputs, {}, 4)]

    with torch.no_grad():
        target = guide(**inputs)
        expected = []
        for one in objective.drawn(inputs["input_ids"].shape[1], 4):
            output = model(**inputs, counts=one.counts, skip_layers=one.skipped)
            distance = mean_divergence(
                output, target, task.output_names, output_kind(task), inputs["attention_mask"], "forward"
            )
            expected.append(distance.item() / 3)
    assert losses == pytest.approx(expected, rel=1e-4)
    assert len(losses) == 3
    assert min(losses) > 0
    assert all(parameter.grad is None for parameter in guide.parameters())


def test_the_stage_takes_the_teacher_as_guide(tmp_path: Path) -> None:
    task = tiny_task("question-answering")
    start = make_checkpoint(tmp_path / "start", task)
    settings = LengthAdaptiveSettings(max_steps=2, batch_size=4, guide="teacher")
    result = stage.run(start, settings, make_context(tmp_path, task, start))
    assert checkpoint.structure_of(checkpoint.load(result.path, task)).length_adaptive is not None


def test_the_full_model_is_not_taught_by_its_sub_models(tmp_path: Path) -> None:
    """Each loss has its own graph: after the first is backpropagated the others still can be."""
    task = tiny_task("question-answering")
    model, inputs, labels = batch_of(task, make_checkpoint(tmp_path, task, adaptive=True).path)
    seen = []
    for loss in SandwichObjective(task, LengthAdaptiveSettings(), 2, seed=0)(model, inputs, labels, 0):
        model.zero_grad()
        loss.backward()
        seen.append(sum(float(p.grad.abs().sum()) for p in model.parameters() if p.grad is not None))
    assert len(seen) == 4
    assert all(value > 0 for value in seen)


def test_what_is_drawn_depends_on_seed_and_step_alone() -> None:
    task = tiny_task("question-answering")
    settings = LengthAdaptiveSettings(sandwich=3)
    first = SandwichObjective(task, settings, 6, seed=1)
    assert first.drawn(100, 7) == SandwichObjective(task, settings, 6, seed=1).drawn(100, 7)
    assert first.drawn(100, 7) != first.drawn(100, 8)
    assert first.drawn(100, 7) != SandwichObjective(task, settings, 6, seed=2).drawn(100, 7)
    full, smallest, *others = first.drawn(100, 7)
    assert full.counts == (100,) * 6
    assert smallest.counts == (80, 64, 52, 42, 34, 28)
    assert len(others) == 3
    assert not full.skipped
    assert not smallest.skipped


def test_layers_are_skipped_in_the_full_pass_only_when_asked() -> None:
    settings = LengthAdaptiveSettings(layer_drop=0.5, layer_drop_full=True)
    objective = SandwichObjective(tiny_task("question-answering"), settings, 6, seed=1)
    assert any(objective.drawn(10, step)[0].skipped for step in range(5))


def test_each_layer_may_drop_as_much_as_it_is_told() -> None:
    task = tiny_task("question-answering")
    settings = LengthAdaptiveSettings(length_drop=[0.0, 0.1, 0.5], layer_drop=0.0)
    smallest = SandwichObjective(task, settings, 3, seed=1).drawn(100, 0)[1]
    assert smallest.counts == (100, 90, 45)
    with pytest.raises(RequestError, match="length_drop has 3 entries, the model has 6 layers: give one a layer"):
        SandwichObjective(task, settings, 6, seed=1)


@pytest.mark.parametrize("name", ALL_TASKS)
def test_a_checkpoint_becomes_length_adaptive(tmp_path: Path, name: str) -> None:
    task = tiny_task(name)
    start = make_checkpoint(tmp_path / "start", task)
    context = make_context(tmp_path, task, start)
    result = stage.run(start, LengthAdaptiveSettings(epochs=1.0, batch_size=8, minimum=3), context)
    assert result.path == context.output
    model = checkpoint.load(result.path, task)
    by_first = name in ("text-classification", "text-regression")
    assert checkpoint.structure_of(model).length_adaptive == LengthAdaptive(
        keep=[1.0, 1.0], minimum=3, restore=not by_first, protect_first=by_first
    )
    before = checkpoint.load(start.path, task).state_dict()
    after = model.state_dict()
    assert list(before) == list(after)
    assert not torch.equal(
        before["bert.encoder.layer.0.output.dense.weight"], after["bert.encoder.layer.0.output.dense.weight"]
    )


def test_a_length_adaptive_checkpoint_trains_on(tmp_path: Path) -> None:
    task = tiny_task("question-answering")
    start = make_checkpoint(tmp_path / "start", task, adaptive=True)
    before = checkpoint.structure_of(checkpoint.load(start.path, task)).length_adaptive
    assert before is not None and before.keep != [1.0, 1.0]
    settings = LengthAdaptiveSettings(max_steps=1, batch_size=8)
    result = stage.run(start, settings, make_context(tmp_path, task, start))
    after = checkpoint.structure_of(checkpoint.load(result.path, task)).length_adaptive
    assert after is not None and after.keep == before.keep
    config = checkpoint.read_config(start.path)
    foretold = Structure.from_config(shape(config, config, settings)).length_adaptive
    assert foretold is not None and foretold.keep == before.keep


@pytest.mark.parametrize(("name", "significance"), [*((name, "all") for name in TASK_NAMES), (TASK_NAMES[0], "first")])
def test_it_learns_the_task_at_every_budget(tmp_path: Path, name: str, significance: Any) -> None:
    task = tiny_task(name)
    start = make_checkpoint(tmp_path / "start", task)
    settings = LengthAdaptiveSettings(
        epochs=15.0,
        batch_size=16,
        learning_rate=5e-3,
        length_drop=0.4,
        layer_drop=0.0,
        precision="float32",
        significance=significance,
    )
    result = stage.run(start, settings, make_context(tmp_path, task, start, count=64))
    for keep in ([1.0, 1.0], [0.6, 0.36]):
        assert _score(task, start.path, [1.0, 1.0]) < 80 < 90 < _score(task, result.path, keep)


def test_numbers_stay_close_at_every_budget(tmp_path: Path) -> None:
    task = tiny_task("text-regression")
    start = make_checkpoint(tmp_path / "start", task)
    settings = LengthAdaptiveSettings(
        epochs=15.0, batch_size=16, learning_rate=5e-3, length_drop=0.4, layer_drop=0.0, precision="float32"
    )
    result = stage.run(start, settings, make_context(tmp_path, task, start, count=64))
    examples = make_examples(task.name, 40)
    for keep in ([1.0, 1.0], [0.6, 0.36]):
        found = _predictions(task, result.path, examples, keep)
        assert task.score(examples, found)["pearson"] > 90
        assert max(abs(number - example.score) for number, example in zip(found, examples, strict=True)) < 1


def _score(task: Task, path: Path, keep: list[float]) -> float:
    """Primary metric at a length configuration."""
    examples = make_examples(task.name, 40)
    return task.score(examples, _predictions(task, path, examples, keep))[task.metric_names[0]]


def _predictions(task: Task, path: Path, examples: list[Any], keep: list[float]) -> list[Any]:
    model, tokenizer = checkpoint.load(path, task), checkpoint.load_tokenizer(path)
    features = task.features(examples, tokenizer, labelled=False)
    dial = {"keep": torch.tensor(keep)} if checkpoint.structure_of(model).length_adaptive else {}
    outputs = predict(model, features, tokenizer, 8, dial)
    return task.decode(examples, features, outputs)


def test_a_checkpoint_without_a_head_is_refused(tmp_path: Path) -> None:
    start = make_checkpoint(tmp_path / "start", tiny_task("token-classification"))
    task = tiny_task("question-answering")
    with pytest.raises(CheckpointError, match="has no head for question-answering"):
        stage.run(start, LengthAdaptiveSettings(), make_context(tmp_path, task, start))
