"""The losses of the exits by hand, and the stage from checkpoint to checkpoint."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from compressor.errors import CheckpointError, RequestError
from compressor.models import checkpoint
from compressor.models.config_file import read_config
from compressor.models.kinds.adaptive_depth import Answer
from compressor.models.structure import AdaptiveDepth
from compressor.stages.adaptive_depth import stage
from compressor.stages.adaptive_depth.objective import ExitsObjective, dact_loss, weights_of
from compressor.stages.adaptive_depth.settings import AdaptiveDepthSettings
from compressor.stages.adaptive_depth.shape import shape, structure_of
from compressor.stages.registry import stage_spec
from compressor.training import collate
from tests.stages.distill.conftest import make_checkpoint, make_context, make_examples, tiny_task

QUICK: dict[str, Any] = {"max_steps": 3, "batch_size": 4, "learning_rate": 1e-2}
METHODS = ("dact", "deebert", "pabee")


def said() -> list[Answer]:
    """Two rows, three layers, two classes."""
    first = torch.tensor([[0.0, 0.0], [2.0, 0.0]])
    return [
        Answer(first, torch.tensor([[0.5], [0.25]])),
        Answer(-first, torch.tensor([[0.5], [1.0]])),
        Answer(first * 2, None),
    ]


@pytest.mark.parametrize("ponder", ["weights", "units"])
def test_dact_loss_by_hand(ponder: Any) -> None:
    loss = dact_loss(said(), torch.tensor([0, 1]), tau=0.1, ponder=ponder)
    sure, surer = 1 / (1 + math.exp(2)), 1 / (1 + math.exp(4))
    second = sure * 1.0
    second = (1 - sure) * 0.25 + second * 0.75
    second = surer * 0.25 + second * 0.75
    price = {"weights": (0.5 + 0.25, 0.25 + 0.25), "units": (0.5 + 0.5, 0.25 + 1.0)}[ponder]
    expected = ((0.1 * price[0] - math.log(0.5)) + (0.1 * price[1] - math.log(second))) / 2
    assert loss.item() == pytest.approx(expected, rel=1e-5)


def test_dact_loss_of_several_labels_by_hand() -> None:
    labels = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    answers = [Answer(torch.zeros(2, 2), torch.ones(2, 1)), Answer(torch.tensor([[0.0, 0.0], [2.0, 0.0]]), None)]
    right = torch.tensor([[0.5, 0.5], [1 - 1 / (1 + math.exp(-2)), 0.5]])
    expected = 0.2 - right.log().mean(dim=-1).mean().item()
    assert dact_loss(answers, labels, tau=0.2, several=True).item() == pytest.approx(expected, rel=1e-5)


def test_a_dearer_layer_closes_the_halting_units() -> None:
    unit = torch.tensor([[0.5], [0.5]], requires_grad=True)
    answers = [Answer(torch.zeros(2, 2), unit), Answer(torch.zeros(2, 2), None)]
    dact_loss(answers, torch.tensor([0, 1]), tau=1.0).backward()
    assert unit.grad is not None and (unit.grad > 0).all()


def test_weights_of_the_layers() -> None:
    assert weights_of("deebert", 3) == [1.0, 1.0, 0.0]
    assert weights_of("pabee", 3) == pytest.approx([1 / 6, 2 / 6, 3 / 6])


def test_exits_learn_alone_for_a_share_of_the_updates_however_many_batches_one_has(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    seen: list[int] = []

    class Watched(ExitsObjective):
        def __init__(self, *arguments: Any, alone: int, **keywords: Any) -> None:
            seen.append(alone)
            super().__init__(*arguments, alone=alone, **keywords)

    monkeypatch.setattr(stage, "ExitsObjective", Watched)
    task = tiny_task("text-classification")
    source = make_checkpoint(tmp_path, task, layers=2)
    settings = AdaptiveDepthSettings(method="dact", max_steps=2, batch_size=2, gradient_accumulation=3, exits_first=0.5)
    stage.run(source, settings, make_context(tmp_path, task, source))
    assert seen == [3]  # one update of two, of three batches each


def test_dact_can_learn_its_exits_losses_too(tmp_path: Path) -> None:
    task = tiny_task("text-classification")
    source = make_checkpoint(tmp_path, task, layers=3)
    settings = AdaptiveDepthSettings(method="dact", max_steps=1)
    model: Any = checkpoint.load(stage.run(source, settings, make_context(tmp_path, task, source)).path, task)
    tokenizer = checkpoint.load_tokenizer(source.path)
    features = task.features(make_examples(task.name, 6), tokenizer, labelled=True)
    inputs, labels = collate(features, tokenizer, task)

    def loss(step: int = 4, **values: Any) -> float:
        settings = AdaptiveDepthSettings(**values)
        (found,) = ExitsObjective(task, settings, seed=0, lengths=None, alone=4)(model, inputs, labels, step)
        return float(found.detach())

    alone, exits, both = loss(method="dact", exit_loss=0.0), loss(method="pabee"), loss(method="dact", exit_loss=0.5)
    assert both == pytest.approx(alone + 0.5 * exits, rel=1e-5)
    assert loss(3, method="dact") == pytest.approx(exits, rel=1e-5)  # the exits learn alone at first


@pytest.mark.parametrize("method", ["deebert", "pabee"])
def test_exits_learn_the_task_loss(tmp_path: Path, method: Any) -> None:
    task = tiny_task("text-classification")
    source = make_checkpoint(tmp_path, task, layers=3)
    settings = AdaptiveDepthSettings(method=method, max_steps=1)
    context = make_context(tmp_path, task, source)
    trained = stage.run(source, settings, context)
    model: Any = checkpoint.load(trained.path, task)
    tokenizer = checkpoint.load_tokenizer(trained.path)
    features = task.features(make_examples(task.name, 6), tokenizer, labelled=True)
    inputs, labels = collate(features, tokenizer, task)
    (loss,) = ExitsObjective(task, settings, seed=0, lengths=None, alone=0)(model, inputs, labels, 0)
    with torch.no_grad():
        each = [task.loss({"logits": answer.logits}, labels).item() for answer in model.answers(**inputs)]
    shares = {"deebert": (1, 1, 0), "pabee": (1 / 6, 2 / 6, 3 / 6)}[method]
    assert loss.item() == pytest.approx(sum(share * one for share, one in zip(shares, each, strict=True)), rel=1e-4)


def test_a_length_adaptive_model_also_learns_at_lengths_that_are_drawn(tmp_path: Path) -> None:
    task = tiny_task("text-classification")
    source = make_checkpoint(tmp_path, task, layers=3, adaptive=True)
    settings = AdaptiveDepthSettings(method="pabee", max_steps=1, length_drop=0.5)
    trained = stage.run(source, settings, make_context(tmp_path, task, source))
    model: Any = checkpoint.load(trained.path, task)
    asked: list[Any] = []
    answers = model.answers
    model.answers = lambda **inputs: asked.append(inputs["counts"]) or answers(**inputs)
    tokenizer = checkpoint.load_tokenizer(trained.path)
    features = task.features(make_examples(task.name, 6), tokenizer, labelled=True)
    inputs, labels = collate(features, tokenizer, task)
    objective = ExitsObjective(task, settings, seed=3, lengths=checkpoint.structure_of(model).length_adaptive, alone=0)
    for step in range(4):
        assert len(list(objective(model, inputs, labels, step))) == 2
    length = inputs["input_ids"].shape[1]
    assert asked[0::2] == [(length,) * 3] * 4
    assert len(set(asked[1::2])) > 1 and min(min(counts) for counts in asked[1::2]) < length


@pytest.mark.parametrize("rate", [1e-6, 1e-1])
def test_exits_have_a_learning_rate_of_their_own(tmp_path: Path, rate: float) -> None:
    task = tiny_task("text-classification")
    source = make_checkpoint(tmp_path, task, layers=3)
    settings = AdaptiveDepthSettings(method="dact", exits_first=0.0, tau=1.0, exit_learning_rate=rate, **QUICK)
    trained: Any = checkpoint.load(stage.run(source, settings, make_context(tmp_path, task, source)).path, task)
    moved = max(abs(float(exit_.halt.bias.detach()) - 1) for exit_ in trained.exits.values())
    assert moved < 1e-4 if rate < 1e-3 else moved > 1e-2


@pytest.mark.parametrize("adaptive", [False, True])
@pytest.mark.parametrize("method", METHODS)
def test_the_stage_trains_exits(tmp_path: Path, method: Any, adaptive: bool) -> None:
    task = tiny_task("text-classification")
    source = make_checkpoint(tmp_path, task, layers=3, adaptive=adaptive)
    result = stage.run(source, AdaptiveDepthSettings(method=method, **QUICK), make_context(tmp_path, task, source))
    before: Any = checkpoint.load(source.path, task)
    after: Any = checkpoint.load(result.path, task)
    structure = checkpoint.structure_of(after)
    assert structure.adaptive_depth == structure_of(AdaptiveDepthSettings(method=method), 3)
    assert (structure.length_adaptive is not None) == adaptive
    same = [torch.equal(value, after.state_dict()[name]) for name, value in before.state_dict().items()]
    assert all(same) if method == "deebert" else not all(same)
    assert any("exits." in name for name in after.state_dict())


def test_exits_train_on_and_methods_do_not_mix(tmp_path: Path) -> None:
    task = tiny_task("text-classification")
    source = make_checkpoint(tmp_path / "source", task, layers=3)
    first = stage.run(
        source, AdaptiveDepthSettings(method="pabee", **QUICK), make_context(tmp_path / "a", task, source)
    )
    again = stage.run(
        first, AdaptiveDepthSettings(method="pabee", setting=1, **QUICK), make_context(tmp_path / "b", task, source)
    )
    structure = checkpoint.structure_of(checkpoint.load(again.path, task))
    assert structure.adaptive_depth == AdaptiveDepth(method="pabee", setting=1)
    with pytest.raises(RequestError, match="exits of pabee"):
        stage.run(first, AdaptiveDepthSettings(method="dact", **QUICK), make_context(tmp_path / "c", task, source))


@pytest.mark.parametrize("exits", [[], [0], [2, 1], [1, 1], [1, 3]])
def test_exits_stand_behind_layers_that_have_another_behind_them(tmp_path: Path, exits: list[int]) -> None:
    source = make_checkpoint(tmp_path / "source", tiny_task("text-classification"), layers=3)
    with pytest.raises((RequestError, ValueError), match="exits"):
        shape(read_config(source.path), {}, AdaptiveDepthSettings(exits=exits))


def test_one_layer_and_other_tasks_are_refused(tmp_path: Path) -> None:
    task = tiny_task("text-classification")
    source = make_checkpoint(tmp_path / "one", task, layers=1)
    with pytest.raises(RequestError, match="one layer"):
        stage.run(source, AdaptiveDepthSettings(**QUICK), make_context(tmp_path / "a", task, source))
    questions = tiny_task("question-answering")
    source = make_checkpoint(tmp_path / "questions", questions)
    with pytest.raises(CheckpointError, match="classifies whole texts"):
        stage.run(source, AdaptiveDepthSettings(**QUICK), make_context(tmp_path / "b", questions, source))


def test_numbers_get_exits_that_learn_them(tmp_path: Path) -> None:
    task = tiny_task("text-regression")
    source = make_checkpoint(tmp_path / "source", task, layers=3)
    settings = AdaptiveDepthSettings(method="pabee", tolerance=0.3, epochs=20, batch_size=8, learning_rate=5e-3)
    result = stage.run(source, settings, make_context(tmp_path, task, source))
    model: Any = checkpoint.load(result.path, task)
    depth = checkpoint.structure_of(model).adaptive_depth
    assert depth == AdaptiveDepth(method="pabee", setting=1, tolerance=0.3)
    tokenizer = checkpoint.load_tokenizer(result.path)
    inputs, labels = collate(task.features(make_examples(task.name, 12), tokenizer, labelled=True), tokenizer, task)
    with torch.no_grad():
        for answer in model.answers(**inputs):
            assert (answer.logits.squeeze(-1) - labels["labels"]).abs().max() < 1


@pytest.mark.parametrize("method", ["dact", "deebert"])
def test_numbers_have_no_probabilities(tmp_path: Path, method: Any) -> None:
    task = tiny_task("text-regression")
    source = make_checkpoint(tmp_path / "source", task)
    with pytest.raises(RequestError, match=f"{method} needs classes, .* text-regression has a number: use method: pab"):
        stage.run(source, AdaptiveDepthSettings(method=method, **QUICK), make_context(tmp_path, task, source))
    stage_spec("adaptive_depth").check_task(AdaptiveDepthSettings(method="pabee"), task.name)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"method": "pabee", "setting": 0.5}, "0.5 is no patience"),
        ({"method": "pabee", "setting": 0}, "0 is no patience"),
        ({"method": "pabee", "setting": 3}, "needs 4 exits or more"),
        ({"method": "pabee", "exits": [2]}, "needs 2 exits or more"),
        ({"method": "dact", "setting": 1.5}, "1.5 is no margin"),
    ],
)
def test_dials_that_no_input_could_stop_by(wrong: Any, message: str, tmp_path: Path) -> None:
    source = make_checkpoint(tmp_path, tiny_task("text-classification"), layers=4)
    with pytest.raises(RequestError, match=message):
        shape(read_config(source.path), {}, AdaptiveDepthSettings(**wrong))


def test_a_patience_that_is_not_asked_for_can_be_reached(tmp_path: Path) -> None:
    patience = [structure_of(AdaptiveDepthSettings(method="pabee"), layers).setting for layers in (3, 4, 12)]
    assert patience == [1.0, 2.0, 2.0]


@pytest.mark.parametrize("wrong", [{"tau": -0.1}, {"setting": -1}, {"method": "none"}])
def test_impossible_settings_are_refused(wrong: Any) -> None:
    with pytest.raises(ValueError):
        AdaptiveDepthSettings(**wrong)
