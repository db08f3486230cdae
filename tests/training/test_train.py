"""Training: it learns, it goes on after a kill with the same weights, it stops at a loss that is no number."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from compressor.config.training import TrainingSettings
from compressor.errors import StorageError, TrainingError
from compressor.training import saves, train
from tests.training.conftest import (
    TOKENIZER,
    ToyTask,
    make_context,
    make_features,
    make_model,
    task_objective,
    weights,
)

ALWAYS = 1e-9  # minutes: a save after every update


def settings(**changes: Any) -> TrainingSettings:
    values = {"epochs": 2.0, "batch_size": 8, "learning_rate": 1e-3, "precision": "float32"}
    return TrainingSettings(**{**values, **changes})


def killed(objective: Any, at: int) -> Any:
    """The same objective, but the process dies in batch `at`."""

    def dying(model: Any, inputs: Any, labels: Any, step: int) -> Any:
        if step == at:
            raise KeyboardInterrupt
        yield from objective(model, inputs, labels, step)

    return dying


def test_learns(task: ToyTask, context: Any) -> None:
    model = make_model(dropout=0.0)
    result = train(
        model,
        make_features(160),
        task,
        settings(epochs=8.0, learning_rate=3e-3),
        task_objective(task),
        context,
        TOKENIZER,
    )
    assert result.steps == 160 == len(result.losses)
    assert sum(result.losses[-10:]) < 0.5 * sum(result.losses[:10])
    assert result.samples_per_second == pytest.approx(160 * 8 / result.seconds)
    assert not model.training


@pytest.mark.parametrize("dies_at", [3, 7, 12, 13])  # inside the first epoch, at its end, in the second
def test_a_killed_run_ends_with_the_same_weights(task: ToyTask, tmp_path: Path, dies_at: int) -> None:
    features = make_features(50)  # 7 batches, the last one short
    objective = task_objective(task)
    straight = make_model()
    expected = train(
        straight, features, task, settings(), objective, make_context(task, tmp_path / "straight"), TOKENIZER
    )

    context = make_context(task, tmp_path / "killed")
    with pytest.raises(KeyboardInterrupt):
        train(
            make_model(),
            features,
            task,
            settings(save_every_minutes=ALWAYS),
            killed(objective, dies_at),
            context,
            TOKENIZER,
        )
    model = make_model(seed=1)  # other weights: they must come from the save
    steps = []

    def watched(model: Any, inputs: Any, labels: Any, step: int) -> Any:
        steps.append(step)
        yield from objective(model, inputs, labels, step)

    result = train(model, features, task, settings(), watched, context, TOKENIZER)
    assert steps == list(range(dies_at, 14))
    assert result.losses == expected.losses
    assert all(torch.equal(one, other) for one, other in zip(weights(model), weights(straight), strict=True))


@pytest.mark.parametrize("damage", ["cut", "missing", "unsealed"])
def test_a_damaged_last_save_falls_back_to_the_one_before(task: ToyTask, tmp_path: Path, damage: str) -> None:
    features = make_features(50)
    objective = task_objective(task)
    context = make_context(task, tmp_path)
    with pytest.raises(KeyboardInterrupt):
        train(
            make_model(), features, task, settings(save_every_minutes=ALWAYS), killed(objective, 5), context, TOKENIZER
        )
    last = context.work / "checkpoint-5"
    if damage == "cut":
        weights_file = last / "model.safetensors"
        weights_file.write_bytes(weights_file.read_bytes()[:100])
    elif damage == "missing":
        (last / "optimizer.pt").unlink()
    else:
        (last / "seal.json").unlink()
    assert saves.newest(context.work) == context.work / "checkpoint-4"
    assert not last.exists()

    model, straight = make_model(seed=1), make_model()
    train(model, features, task, settings(), objective, context, TOKENIZER)
    train(straight, features, task, settings(), objective, make_context(task, tmp_path / "straight"), TOKENIZER)
    assert all(torch.equal(one, other) for one, other in zip(weights(model), weights(straight), strict=True))


def test_only_two_saves_are_kept(task: ToyTask, context: Any) -> None:
    train(
        make_model(),
        make_features(50),
        task,
        settings(save_every_minutes=ALWAYS),
        task_objective(task),
        context,
        TOKENIZER,
    )
    assert sorted(path.name for path in context.work.iterdir()) == ["checkpoint-12", "checkpoint-13"]


def test_accumulated_small_batches_are_one_large_batch(task: ToyTask, tmp_path: Path) -> None:
    features = make_features(32, longest=3)  # one length: the same rows in either case
    whole, parts = make_model(dropout=0.0), make_model(dropout=0.0)
    common = {"epochs": 1.0, "group_by_length": False}
    train(
        whole,
        features,
        task,
        settings(batch_size=8, **common),
        task_objective(task),
        make_context(task, tmp_path / "a"),
        TOKENIZER,
    )
    train(
        parts,
        features,
        task,
        settings(batch_size=4, gradient_accumulation=2, **common),
        task_objective(task),
        make_context(task, tmp_path / "b"),
        TOKENIZER,
    )
    for one, other in zip(weights(whole), weights(parts), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)


def test_losses_of_one_update_are_summed(task: ToyTask, tmp_path: Path) -> None:
    features = make_features(16)
    once, thrice = make_model(dropout=0.0), make_model(dropout=0.0)

    def doubled(model: Any, inputs: Any, labels: Any, step: int) -> Any:
        yield 2 * task.loss(model(**inputs), labels)

    def split(model: Any, inputs: Any, labels: Any, step: int) -> Any:
        for weight in (0.5, 0.5, 1.0):
            yield weight * task.loss(model(**inputs), labels)

    one = train(once, features, task, settings(), doubled, make_context(task, tmp_path / "a"), TOKENIZER)
    many = train(thrice, features, task, settings(), split, make_context(task, tmp_path / "b"), TOKENIZER)
    assert many.losses == pytest.approx(one.losses, rel=1e-4)


def test_each_pass_is_backpropagated_before_the_next_forward(task: ToyTask, context: Any) -> None:
    model = make_model()
    seen = []

    def objective(model: Any, inputs: Any, labels: Any, step: int) -> Any:
        yield task.loss(model(**inputs), labels)
        first = model.classifier.weight.grad.clone()
        yield task.loss(model(**inputs), labels)
        seen.append(bool((first != 0).any()) and not torch.equal(first, model.classifier.weight.grad))

    train(model, make_features(16), task, settings(epochs=1.0), objective, context, TOKENIZER)
    assert seen == [True, True]


def test_max_steps_stops_earlier_than_epochs_would(task: ToyTask, context: Any) -> None:
    result = train(
        make_model(), make_features(40), task, settings(max_steps=3), task_objective(task), context, TOKENIZER
    )
    assert result.steps == 3


def test_a_part_of_an_epoch(task: ToyTask, context: Any) -> None:
    result = train(
        make_model(), make_features(80), task, settings(epochs=0.5), task_objective(task), context, TOKENIZER
    )
    assert result.steps == 5


def test_bfloat16_trains_float32_weights(task: ToyTask, context: Any) -> None:
    model = make_model()
    formats = []

    def objective(model: Any, inputs: Any, labels: Any, step: int) -> Any:
        outputs = model(**inputs)
        formats.append(outputs["logits"].dtype)
        yield task.loss(outputs, labels)

    train(model, make_features(16), task, settings(precision="bfloat16", max_steps=1), objective, context, TOKENIZER)
    assert formats == [torch.bfloat16]
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}


def test_a_loss_that_is_no_number_stops_and_keeps_the_last_save(task: ToyTask, context: Any) -> None:
    def objective(model: Any, inputs: Any, labels: Any, step: int) -> Any:
        loss = task.loss(model(**inputs), labels)
        yield loss * float("nan") if step == 4 else loss

    with pytest.raises(TrainingError, match=r"tuning: the loss is nan at update 5 of 14.*checkpoint-4.*learning_rate"):
        train(
            make_model(),
            make_features(50),
            task,
            settings(save_every_minutes=ALWAYS),
            objective,
            context,
            TOKENIZER,
            title="tuning",
        )
    assert saves.newest(context.work) == context.work / "checkpoint-4"


def test_the_weights_before_a_bad_loss_are_kept_even_if_no_save_was_due(task: ToyTask, context: Any) -> None:
    before: list[dict[str, torch.Tensor]] = []

    def objective(model: Any, inputs: Any, labels: Any, step: int) -> Any:
        before.append({name: value.clone() for name, value in model.state_dict().items()})
        loss = task.loss(model(**inputs), labels)
        yield loss * float("inf") if step == 4 else loss

    with pytest.raises(TrainingError, match=r"the loss is inf at update 5 of 14; the last good save is .*checkpoint-4"):
        train(make_model(), make_features(50), task, settings(), objective, context, TOKENIZER)
    kept = saves.newest(context.work)
    assert kept == context.work / "checkpoint-4"
    saved = load_file(kept / "model.safetensors")
    assert all(torch.equal(saved[name], value) for name, value in before[4].items())


def test_weights_broken_by_the_last_update_are_an_error(task: ToyTask, context: Any) -> None:
    def objective(model: Any, inputs: Any, labels: Any, step: int) -> Any:
        loss = task.loss(model(**inputs), labels)
        if step == 13:
            loss.register_hook(lambda gradient: gradient * float("nan"))
        yield loss

    with pytest.raises(TrainingError, match="a weight is no longer a number"):
        train(make_model(), make_features(50), task, settings(), objective, context, TOKENIZER)


def test_weights_that_are_no_numbers_are_never_saved(task: ToyTask, context: Any) -> None:
    def objective(model: Any, inputs: Any, labels: Any, step: int) -> Any:
        loss = task.loss(model(**inputs), labels)
        if step == 2:
            loss.register_hook(lambda gradient: gradient * float("nan"))
        yield loss

    with pytest.raises(TrainingError, match="a weight is no longer a number"):
        train(make_model(), make_features(50), task, settings(save_every_minutes=ALWAYS), objective, context, TOKENIZER)
    assert saves.newest(context.work) == context.work / "checkpoint-2"


def test_no_training_data(task: ToyTask, context: Any) -> None:
    with pytest.raises(TrainingError, match="there is no training data"):
        train(make_model(), [], task, settings(), task_objective(task), context, TOKENIZER)


def test_a_save_that_cannot_be_written(task: ToyTask, context: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(folder: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(saves, "seal", full)
    with pytest.raises(StorageError, match="could not save the running training.*No space left"):
        train(
            make_model(),
            make_features(50),
            task,
            settings(save_every_minutes=ALWAYS),
            task_objective(task),
            context,
            TOKENIZER,
        )
    assert list(context.work.iterdir()) == []


def test_the_bar_counts_every_update_once_and_nothing_is_printed(
    task: ToyTask, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    bars: list[Any] = []

    class Bar:
        def __init__(self, title: str, total: int) -> None:
            self.title, self.total, self.done, self.notes = title, total, 0, []
            bars.append(self)

        def advance(self, steps: int = 1, note: str = "") -> None:
            self.done += steps
            self.notes.append(note)

        def __enter__(self) -> Bar:
            return self

        def __exit__(self, *error: object) -> None:
            pass

    class Shown:
        bar = Bar

        def line(self, text: str) -> None:
            pass

    context = replace(make_context(task, tmp_path), progress=Shown())
    objective = task_objective(task)
    with pytest.raises(KeyboardInterrupt):
        train(
            make_model(),
            make_features(50),
            task,
            settings(save_every_minutes=ALWAYS),
            killed(objective, 5),
            context,
            TOKENIZER,
            title="tuning",
        )
    train(make_model(), make_features(50), task, settings(), objective, context, TOKENIZER, title="tuning")
    assert [(bar.title, bar.total, bar.done) for bar in bars] == [("tuning", 14, 5), ("tuning", 14, 14)]
    assert bars[0].notes[0].startswith("loss 0.")
    printed = capfd.readouterr()
    assert printed.out == "" and printed.err == ""
