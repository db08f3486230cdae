"""Layers by importance: one that does nothing goes first, whichever way it is measured."""

from __future__ import annotations

from collections.abc import Sequence
from operator import attrgetter
from pathlib import Path
from typing import Any

import pytest
import torch

from compressor.errors import CheckpointError, RequestError
from compressor.models import checkpoint
from compressor.models.families import family_of_model
from compressor.models.structure import AdaptiveDepth, Structure, with_structure
from compressor.stages.context import Checkpoint
from compressor.stages.drop_layers.importance import loss_without, most_important, turning
from compressor.stages.drop_layers.settings import DropLayersSettings
from compressor.stages.drop_layers.shape import shape
from compressor.stages.drop_layers.stage import run
from compressor.training.sample import sample_batches
from tests.models.conftest import FAMILY_NAMES
from tests.stages.distill.conftest import make_checkpoint, make_context, tiny_task


def with_idle_layer(folder: Path, task: Any, index: int, **options: Any) -> Checkpoint:
    """A checkpoint of four layers, one of which adds nothing to what it reads."""
    source = make_checkpoint(folder, task, layers=4, **options)
    model = checkpoint.load(source.path, task)
    family = family_of_model(model)
    layer = family.layers_of(model)[index]
    with torch.no_grad():
        for path in (family.attention_output, family.feed_forward_out):
            for parameter in attrgetter(path)(layer).parameters():
                parameter.zero_()
    checkpoint.save(model, checkpoint.load_tokenizer(source.path), source.path)
    return source


@pytest.mark.parametrize("adaptive", [False, True])
@pytest.mark.parametrize("importance", ["cosine", "loss"])
def test_an_idle_layer_goes(tmp_path: Path, importance: Any, adaptive: bool) -> None:
    task = tiny_task("text-classification")
    source = with_idle_layer(tmp_path / "source", task, 1, adaptive=adaptive)
    settings = DropLayersSettings(keep="importance", layers=3, importance=importance, samples=12)
    context = make_context(tmp_path, task, source)
    model = checkpoint.load(source.path, task)
    batches = sample_batches(context, checkpoint.load_tokenizer(source.path), 12, title="test")
    with torch.no_grad():
        labels = [row for _, wanted in batches for row in wanted["labels"].tolist()]
        assert set(labels) == {0, 1}
    if importance == "cosine":
        scores = turning(model, batches)
        assert scores[1] == pytest.approx(0, abs=1e-4) and min(scores[0], *scores[2:]) > 1e-3
        result = run(source, settings, context)
        left: Any = family_of_model(model).layers_of(checkpoint.load(result.path, task))
        kept = family_of_model(model).layers_of(model)
        for new, old in enumerate((0, 2, 3)):
            own, expected = left[new].state_dict(), kept[old].state_dict()
            assert all(torch.equal(own[name], value) for name, value in expected.items())
    else:
        whole = task_loss(model, batches, task)
        assert loss_without(model, batches, task)[1] == pytest.approx(whole, rel=1e-4)


def test_of_two_layers_that_do_the_same_work_one_stays() -> None:
    """The model misses neither of layers 1 and 2 as long as it has the other."""

    def judge(left: Sequence[int]) -> list[float]:
        same = {1, 2}
        return [0.1 + 0.01 * layer if same <= set(left) and layer in same else 1.0 - 0.1 * layer for layer in left]

    assert most_important(judge, 4, 2, one_by_one=False) == [0, 3]
    assert most_important(judge, 4, 2, one_by_one=True) == [0, 2]
    assert most_important(judge, 4, 4, one_by_one=True) == [0, 1, 2, 3]


@pytest.mark.parametrize("one_by_one", [False, True])
@pytest.mark.parametrize(("apart", "kept"), [(0, [2, 3]), (1, [0, 3]), (2, [1, 3]), (3, [2, 3])])
def test_of_layers_that_keep_two_texts_apart_and_of_the_others_the_best_stays(
    apart: int, kept: list[int], one_by_one: bool
) -> None:
    assert (
        most_important(lambda left: [float(layer) for layer in left], 4, 2, one_by_one=one_by_one, apart=apart) == kept
    )


@pytest.mark.parametrize("model_type", FAMILY_NAMES)
@pytest.mark.parametrize("adaptive", [False, True])
def test_layers_that_are_left_are_judged_as_if_there_were_no_others(
    tmp_path: Path, model_type: str, adaptive: bool
) -> None:
    task = tiny_task("text-classification")
    source = make_checkpoint(tmp_path / "source", task, model_type, layers=4, adaptive=adaptive)
    context = make_context(tmp_path, task, source)
    batches = sample_batches(context, checkpoint.load_tokenizer(source.path), 8, batch_size=4, title="test")
    model = checkpoint.load(source.path, task)
    found = turning(model, batches, [0, 2, 3]), loss_without(model, batches, task, [0, 2, 3])
    left = checkpoint.load(run(source, DropLayersSettings(keep=[0, 2, 3]), context).path, task)
    assert found[0] == pytest.approx(turning(left, batches), rel=1e-4, abs=1e-6)
    assert found[1] == pytest.approx(loss_without(left, batches, task), rel=1e-4)


def task_loss(model: Any, batches: Any, task: Any) -> float:
    """Mean loss of the whole model over the examples."""
    from compressor.models.kinds.length_adaptive import whole_inputs

    rows = sum(len(inputs["input_ids"]) for inputs, _ in batches)
    with torch.no_grad():
        return sum(
            task.loss(model(**whole_inputs(model, inputs)), labels).item() * len(inputs["input_ids"]) / rows
            for inputs, labels in batches
        )


@pytest.mark.parametrize("model_type", FAMILY_NAMES)
def test_the_loss_without_a_layer_is_that_of_the_shallower_model(tmp_path: Path, model_type: str) -> None:
    task = tiny_task("question-answering")
    source = make_checkpoint(tmp_path / "source", task, model_type, layers=3)
    context = make_context(tmp_path, task, source)
    batches = sample_batches(context, checkpoint.load_tokenizer(source.path), 8, batch_size=4, title="test")
    found = loss_without(checkpoint.load(source.path, task), batches, task)
    result = run(source, DropLayersSettings(keep=[0, 2]), context)
    assert found[1] == pytest.approx(task_loss(checkpoint.load(result.path, task), batches, task), rel=1e-4)


def test_plan_knows_the_count_and_refuses_exits(tmp_path: Path) -> None:
    task = tiny_task("text-classification")
    source = make_checkpoint(tmp_path / "source", task, layers=4, adaptive=True)
    config = checkpoint.read_config(source.path)
    settings = DropLayersSettings(keep="importance", layers=3)
    foretold = shape(config, {}, settings)
    assert foretold["num_hidden_layers"] == 3
    assert len(foretold["compressor"]["structure"]["length_adaptive"]["keep"]) == 3
    exits = with_structure(config, Structure(adaptive_depth=AdaptiveDepth(method="pabee", setting=1)))
    with pytest.raises(RequestError, match="cannot judge a model with exits"):
        shape(exits, {}, settings)


def test_the_loss_needs_a_head(tmp_path: Path) -> None:
    source = make_checkpoint(tmp_path / "source", tiny_task("token-classification"))
    task = tiny_task("question-answering")
    context = make_context(tmp_path, task, source)
    with pytest.raises(CheckpointError, match="has no head for question-answering"):
        run(source, DropLayersSettings(keep="importance", importance="loss", layers=1), context)
    assert run(source, DropLayersSettings(keep="importance", layers=1), context).path.is_dir()
