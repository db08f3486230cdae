"""One model of several sizes: what runs as a part is what is cut out, and every size learns."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from compressor.config.schema import parse
from compressor.errors import CheckpointError, RequestError
from compressor.graph.export import export
from compressor.models import checkpoint, macs
from compressor.models.elastic import sizes_of
from compressor.models.structure import Structure
from compressor.models.sub_network import sub_network
from compressor.stages.context import Checkpoint
from compressor.stages.distill.losses import class_logits
from compressor.stages.distill.parts import Shape
from compressor.stages.dynabert import stage as dynabert
from compressor.stages.dynabert.lessons import lessons
from compressor.stages.dynabert.settings import DynabertSettings
from compressor.stages.dynabert.shape import shape
from compressor.stages.dynabert.sizes import layers_at, widths_at
from compressor.stages.registry import STAGES, stage_spec
from compressor.stages.take_size.settings import TakeSizeSettings
from compressor.stages.take_size.shape import shape as shape_of_size
from compressor.training import collate
from compressor.training.importance import importance
from tests.models.conftest import FAMILY_NAMES, make_inputs
from tests.models.test_widths import run as run_graph
from tests.stages.distill.conftest import make_checkpoint, make_context, make_examples, model_config, tiny_task

take_size = stage_spec("take_size").load_run()
QUICK: dict[str, Any] = {"max_steps": 2, "batch_size": 4, "learning_rate": 1e-3, "samples": 8}


def trained(folder: Path, source: Checkpoint, task: Any, teacher: Checkpoint, **values: Any) -> Checkpoint:
    settings = parse(DynabertSettings, {**QUICK, "widths": [1.0, 0.5], **values}, where="test")
    return dynabert.run(source, settings, make_context(folder, task, teacher))


@pytest.mark.parametrize(("depth", "expected"), [
    (1.0, list(range(12))), (0.75, [0, 1, 3, 4, 5, 7, 8, 9, 11]), (0.5, [1, 3, 5, 7, 9, 11]), (0.01, [11]),
])  # fmt: skip
def test_depths_keep_every_other_layer_and_the_last(depth: float, expected: list[int]) -> None:
    """Hou et al. 2020: layer d, from 1, goes where d + 1 is a multiple of 1 / (1 - depth)."""
    assert layers_at(depth, 12) == expected


def test_a_layer_that_stays_learns_from_its_own_partner() -> None:
    config = {"model_type": "bert", "num_hidden_layers": 4, "hidden_size": 8, "num_attention_heads": 2}
    own = Shape.of({**config, "intermediate_size": 16})
    found = lessons(DynabertSettings(depths=[1.0, 0.5], hidden=1.0), own, own)
    assert found[1.0].hidden_pairs == [(0, 0), (1, 1), (2, 2), (3, 3), (4, 4)]
    assert found[0.5].hidden_pairs == [(0, 0), (1, 2), (2, 4)]
    deeper = Shape.of({**config, "num_hidden_layers": 8, "intermediate_size": 16})
    assert lessons(DynabertSettings(depths=[0.5], hidden=1.0), own, deeper)[0.5].hidden_pairs == [
        (0, 0),
        (1, 4),
        (2, 8),
    ]


@pytest.mark.parametrize("adaptive", [False, True])
@pytest.mark.parametrize("model_type", FAMILY_NAMES)
@torch.no_grad()
def test_a_part_that_runs_is_the_part_that_is_cut_out(tmp_path: Path, model_type: str, adaptive: bool) -> None:
    task = tiny_task("text-classification")
    source = make_checkpoint(tmp_path / "source", task, model_type, layers=3, adaptive=adaptive)
    ids, mask = make_inputs(4, 12)
    model: Any = checkpoint.load(source.path, task)
    model.config.elastic = {"widths": [1.0, 0.5], "depths": [1.0, 0.67]}
    checkpoint.save(model, checkpoint.load_tokenizer(source.path), source.path)
    whole = {"keep": torch.ones(3)} if adaptive else {}
    before = model(input_ids=ids, attention_mask=mask, **whole).logits
    config = checkpoint.read_config(source.path)
    with sub_network(model, layers=layers_at(0.67, 3), widths=widths_at(0.5, config)):
        expected = model(input_ids=ids, attention_mask=mask, **whole).logits
    assert torch.equal(model(input_ids=ids, attention_mask=mask, **whole).logits, before)
    assert not torch.allclose(expected, before)
    result = take_size(source, TakeSizeSettings(width=0.5, depth=0.67), make_context(tmp_path, task, source))
    cut: Any = checkpoint.load(result.path, task)
    found = cut(input_ids=ids, attention_mask=mask, **({"keep": torch.ones(2)} if adaptive else {})).logits
    torch.testing.assert_close(found, expected)
    config = checkpoint.read_config(result.path)
    assert sizes_of(config) is None
    assert macs.parameter_count(config, task.name) == sum(p.numel() for p in cut.parameters())
    export(result, task, tmp_path / "graph.onnx", opset=17, dial="optional")
    plain = cut(input_ids=ids, attention_mask=mask).logits
    np.testing.assert_allclose(run_graph(tmp_path / "graph.onnx", ids, mask)[0], plain.numpy(), atol=1e-4)


@torch.no_grad()
def test_rewiring_puts_the_best_first_and_changes_no_answer(tmp_path: Path) -> None:
    task = tiny_task("text-classification")
    source = make_checkpoint(tmp_path / "source", task)
    model: Any = checkpoint.load(source.path, task)
    ids, mask = make_inputs(4, 12)
    expected = model(input_ids=ids, attention_mask=mask).logits
    dynabert.rewire(model, "magnitude", [], task, 0)
    torch.testing.assert_close(model(input_ids=ids, attention_mask=mask).logits, expected)
    assert checkpoint.structure_of(model).is_stock
    found = importance("magnitude", model, [], task, 0)
    for scores in (*found.heads, *found.units):
        assert scores.tolist() == sorted(scores.tolist(), reverse=True)


@pytest.mark.parametrize("task_name", ["text-classification", "question-answering"])
def test_the_paper_in_two_steps(tmp_path: Path, task_name: str) -> None:
    """Widths learn from the teacher, then depths from the model of all widths; the result is one stock model."""
    task = tiny_task(task_name)
    teacher = make_checkpoint(tmp_path / "teacher", task, layers=4)
    first = trained(tmp_path / "a", teacher, task, teacher, max_steps=4)
    assert sizes_of(checkpoint.read_config(first.path)) == sizes_of(
        {"elastic": {"widths": [1.0, 0.5], "depths": [1.0]}}
    )
    second = trained(tmp_path / "b", first, task, teacher, depths=[1.0, 0.5], hidden=1.0)
    config = checkpoint.read_config(second.path)
    assert Structure.from_config(config).is_stock and config["num_hidden_layers"] == 4
    settings = parse(DynabertSettings, {"widths": [1.0, 0.5], "depths": [1.0, 0.5]}, where="test")
    assert shape(checkpoint.read_config(first.path), {}, settings)["elastic"] == config["elastic"]
    result = take_size(second, TakeSizeSettings(width=0.5, depth=0.5), make_context(tmp_path / "c", task, teacher))
    small = checkpoint.read_config(result.path)
    assert small["num_hidden_layers"] == 2 and "elastic" not in small
    foretold = shape_of_size(config, {}, TakeSizeSettings(width=0.5, depth=0.5))
    assert Structure.from_config(foretold) == Structure.from_config(small)


def louder(source: Checkpoint, task: Any, factor: float) -> Checkpoint:
    """The checkpoint with larger weights, so that what goes is missed."""
    model = checkpoint.load(source.path, task)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 2:
                parameter.mul_(factor)
    checkpoint.save(model, checkpoint.load_tokenizer(source.path), source.path)
    return source


def test_every_size_comes_closer_to_the_teacher(tmp_path: Path) -> None:
    task = tiny_task("text-classification")
    teacher = louder(make_checkpoint(tmp_path / "teacher", task), task, 5.0)
    settings = {"max_steps": 40, "epochs": 20, "batch_size": 12, "hidden": 0.0, "learning_rate": 3e-3}
    result = trained(tmp_path / "a", teacher, task, teacher, importance="magnitude", **settings)
    guide, after, before = (checkpoint.load(folder.path, task) for folder in (teacher, result, teacher))
    dynabert.rewire(before, "magnitude", [], task, 0)
    tokenizer = checkpoint.load_tokenizer(teacher.path)
    inputs, _ = collate(task.features(make_examples(task.name, 24), tokenizer, labelled=True), tokenizer, task)
    widths = widths_at(0.5, checkpoint.read_config(result.path))
    divergence = []
    with torch.no_grad():
        wanted = guide(**inputs).logits
        for model in (before, after):
            with sub_network(model, widths=widths):
                divergence.append(class_logits(model(**inputs).logits, wanted, 1.0).item())
    assert divergence[1] < 0.5 * divergence[0]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"widths": []}, r"`widths` = \[\] must list at least one size"),
        ({"depths": [0.5, 0.5]}, "and each once"),
        ({"widths": [1.5]}, "is not possible"),
        ({"logits": 0, "hidden": 0}, "every loss has the weight 0"),
    ],
)
def test_impossible_settings(values: dict[str, Any], message: str) -> None:
    with pytest.raises(RequestError, match=message):
        parse(DynabertSettings, values, where="test")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"widths": [1.0, 0.1]}, "a width of 0.1 leaves no head or no unit"),
        ({"depths": [0.001]}, "a depth of 0.001 leaves none of 4 layers"),
    ],
)
def test_sizes_that_leave_nothing(values: dict[str, Any], message: str) -> None:
    config = model_config("bert", 4, 32, 4)
    with pytest.raises(RequestError, match=message):
        shape(config, config, parse(DynabertSettings, values, where="test"))


def test_sizes_that_were_not_trained_are_refused(tmp_path: Path) -> None:
    task = tiny_task("text-classification")
    config = checkpoint.read_config(make_checkpoint(tmp_path / "source", task).path)
    with pytest.raises(RequestError, match="trained for one size alone: put the stage dynabert before it"):
        shape_of_size(config, {}, TakeSizeSettings(width=0.5))
    config["elastic"] = {"widths": [1.0, 0.5], "depths": [1.0]}
    with pytest.raises(RequestError, match=r"width = 0.25 was not trained; the model serves 0.5, 1\."):
        shape_of_size(config, {}, TakeSizeSettings(width=0.25))
    with pytest.raises(RequestError, match=r"depth = 0.5 was not trained; the model serves 1\."):
        shape_of_size(config, {}, TakeSizeSettings(width=0.5, depth=0.5))
    with pytest.raises(RequestError, match="`hidden` needs equal widths, but the student's is 32 and the teacher's 64"):
        shape({**config, "elastic": None}, {**config, "hidden_size": 64}, DynabertSettings())
    with pytest.raises(CheckpointError, match="'elastic' must be a mapping"):
        sizes_of({"elastic": 3})


def finetuned(folder: Path, source: Checkpoint, task: Any) -> Checkpoint:
    """The checkpoint after a fine-tuning, as a run starts it."""
    spec = stage_spec("finetune")
    context = make_context(folder, task, source)
    context.output.mkdir(parents=True)
    return spec.load_run()(source, spec.load_settings()(max_steps=1, batch_size=4), context)


@pytest.mark.parametrize("name", STAGES)
def test_sizes_are_served_until_another_stage_changes_the_model(name: str) -> None:
    """Foretold of every stage that can have such a model; the three others train all sizes, or no part of them."""
    config = {**model_config("bert", 4, 32, 4), "elastic": {"widths": [1.0, 0.5], "depths": [1.0]}}
    wishes: dict[str, dict[str, Any]] = {
        "prune_widths": {"heads": 0.5},
        "dynabert": {"widths": [1.0, 0.5]},
        "low_rank": {"ratio": 0.5},
        "factorize_embeddings": {"ratio": 0.5},
        "adaptive_depth": {"method": "deebert"},
    }
    spec = stage_spec(name)
    after = spec.load_shape()(config, config, spec.load_settings()(**wishes.get(name, {})))
    assert (sizes_of(after) is not None) == (name in ("dynabert", "prune_vocabulary", "factorize_embeddings"))


def test_a_size_that_was_trained_over_is_refused(tmp_path: Path) -> None:
    task = tiny_task("text-classification")
    teacher = make_checkpoint(tmp_path / "teacher", task)
    whole = trained(tmp_path / "a", teacher, task, teacher)
    later = finetuned(tmp_path / "b", whole, task)
    config = checkpoint.read_config(later.path)
    assert sizes_of(checkpoint.read_config(whole.path)) is not None and sizes_of(config) is None
    with pytest.raises(RequestError, match="trained for one size alone"):
        take_size(later, TakeSizeSettings(width=0.5), make_context(tmp_path / "c", task, teacher))


def test_a_model_that_was_trained_over_is_rewired_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    task = tiny_task("text-classification")
    teacher = make_checkpoint(tmp_path / "teacher", task)
    whole = trained(tmp_path / "a", teacher, task, teacher)
    later = finetuned(tmp_path / "b", whole, task)
    rewired: list[str] = []
    monkeypatch.setattr(dynabert, "rewire", lambda model, kind, *_: rewired.append(kind))
    trained(tmp_path / "c", whole, task, teacher, importance="magnitude")
    assert rewired == []
    trained(tmp_path / "d", later, task, teacher, importance="magnitude")
    assert rewired == ["magnitude"]
