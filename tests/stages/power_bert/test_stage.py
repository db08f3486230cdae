"""The stage from checkpoint to checkpoint, and to a graph."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from compressor.models import checkpoint
from compressor.models.kinds.length_adaptive import make_length_adaptive
from compressor.models.structure import LengthAdaptive, Structure
from compressor.stages.power_bert import stage
from compressor.stages.power_bert.settings import PowerBertSettings
from compressor.stages.power_bert.shape import shape
from tests.graph.exported import difference, export_model, fuse, inputs_of, masks, run_graph, run_torch
from tests.stages.distill.conftest import make_checkpoint, make_context, tiny_task

QUICK: dict[str, Any] = {"max_steps": 4, "batch_size": 4, "warmup": 0.0}


@pytest.mark.parametrize("name", ["question-answering", "text-classification", "token-classification"])
def test_a_high_price_drops_tokens_from_layer_to_layer(tmp_path: Path, name: str) -> None:
    task = tiny_task(name)
    source = make_checkpoint(tmp_path / "source", task, layers=3)
    settings = PowerBertSettings(price=10.0, retention_learning_rate=0.2, ranks=10, **QUICK)
    result = stage.run(source, settings, make_context(tmp_path, task, source))
    model: Any = checkpoint.load(result.path, task)
    adaptive = checkpoint.structure_of(model).length_adaptive
    assert adaptive is not None
    assert adaptive.restore == task.restores_tokens == (not adaptive.protect_first)
    assert adaptive.keep == sorted(adaptive.keep, reverse=True)
    assert adaptive.keep[-1] < 0.9
    before, after = checkpoint.load(source.path, task).state_dict(), model.state_dict()
    assert before.keys() == after.keys()
    assert any(not before[key].equal(after[key]) for key in before)
    graph = export_model(result.path, task)
    fused = fuse(graph, result.path, task=task).path
    inputs = {key: value % 39 for key, value in inputs_of(masks()["full"]).items()}
    for path in (graph, fused):
        assert difference(run_graph(path, inputs), run_torch(model, task, inputs)) < 1e-4


def test_tokens_without_a_price_stay(tmp_path: Path) -> None:
    task = tiny_task("text-classification")
    source = make_checkpoint(tmp_path / "source", task)
    settings = PowerBertSettings(price=0.0, retention_learning_rate=1e-6, **QUICK)
    result = stage.run(source, settings, make_context(tmp_path, task, source))
    adaptive = Structure.from_config(checkpoint.read_config(result.path)).length_adaptive
    assert adaptive is not None and adaptive.keep == [1.0, 1.0]


def test_plan_knows_the_shape_but_not_what_is_learned(tmp_path: Path) -> None:
    config = checkpoint.read_config(make_checkpoint(tmp_path, tiny_task("question-answering"), layers=3).path)
    after = Structure.from_config(shape(config, config, PowerBertSettings(minimum=4)))
    assert after.length_adaptive is not None
    assert (after.length_adaptive.keep, after.length_adaptive.minimum) == ([1.0] * 3, 4)


@pytest.mark.parametrize("asked", [None, 3])
def test_a_model_that_drops_tokens_keeps_by_what_it_ranks_them(tmp_path: Path, asked: int | None) -> None:
    task = tiny_task("text-classification")
    source = make_checkpoint(tmp_path / "source", task, layers=3)
    ranked = LengthAdaptive(keep=[1.0] * 3, minimum=5, restore=False, protect_first=True, significance="first")
    model = make_length_adaptive(checkpoint.load(source.path, task), ranked)
    checkpoint.save(model, checkpoint.load_tokenizer(source.path), source.path)
    settings = PowerBertSettings(price=10.0, retention_learning_rate=0.2, ranks=10, minimum=asked, **QUICK)
    foretold = Structure.from_config(shape(checkpoint.read_config(source.path), {}, settings)).length_adaptive
    result = stage.run(source, settings, make_context(tmp_path, task, source))
    written = Structure.from_config(checkpoint.read_config(result.path)).length_adaptive
    for found in (foretold, written):
        assert found is not None and (found.significance, found.minimum) == ("first", asked or 5)
    assert written is not None and written.keep[-1] < 0.9


@pytest.mark.parametrize("dies", [2, 5])
def test_a_killed_run_ends_with_the_same_weights(tmp_path: Path, dies: int, monkeypatch: pytest.MonkeyPatch) -> None:
    task = tiny_task("text-classification")
    source = make_checkpoint(tmp_path / "source", task)
    settings = PowerBertSettings(
        price=1.0, retention_learning_rate=0.1, ranks=8, max_steps=4, batch_size=8, save_every_minutes=1e-9
    )
    whole = stage.run(source, settings, make_context(tmp_path / "whole", task, source))
    context, calls, loss = make_context(tmp_path / "killed", task, source), [0], task.loss

    def dying(outputs: Any, labels: Any) -> Any:
        calls[0] += 1
        if calls[0] == dies + 1:  # in the search, or in the training behind it
            raise KeyboardInterrupt
        return loss(outputs, labels)

    with monkeypatch.context() as patch:
        patch.setattr(task, "loss", dying)
        with pytest.raises(KeyboardInterrupt):
            stage.run(source, settings, context)
    again = stage.run(source, settings, context)
    one, other = (checkpoint.load(each.path, task) for each in (whole, again))
    assert checkpoint.structure_of(one) == checkpoint.structure_of(other)
    assert all(value.equal(other.state_dict()[name]) for name, value in one.state_dict().items())
