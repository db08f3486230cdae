"""Maps of weights: what they begin as, what they give, and that they learn."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from compressor.errors import RequestError
from compressor.models import checkpoint
from compressor.models.families import family
from compressor.models.kinds.length_adaptive import whole_inputs
from compressor.models.spaces import ATTENTION, FEED_FORWARD, Space
from compressor.models.structure import Structure
from compressor.stages.registry import stage_spec
from compressor.stages.squeeze import stage
from compressor.stages.squeeze.maps import map_weights, mapped_weights, names, random, selecting, source_name
from compressor.stages.squeeze.settings import SqueezeSettings
from compressor.stages.squeeze.shape import shape
from compressor.stages.squeeze.strength import strongest_of_heads
from compressor.training import collate
from tests.models.conftest import FAMILY_NAMES, make_inputs
from tests.stages.distill.conftest import make_checkpoint, make_context, make_examples, model_config, tiny_task

TASK = tiny_task("text-classification")


def pair(model_type: str, tmp_path: Path, **options: Any) -> tuple[Any, Any, dict[str, Any]]:
    """A model, a student of another shape with weights of its own, and the student's `config.json`."""
    source = make_checkpoint(tmp_path / "source", TASK, model_type, layers=4)
    large = checkpoint.load(source.path, TASK)
    config = shape(checkpoint.read_config(source.path), checkpoint.read_config(source.path), SqueezeSettings(**options))
    return large, checkpoint.build(config, TASK), config


@pytest.mark.parametrize(("model_type", "width"), [("bert", 0.5), ("distilbert", 1.0), ("electra", 0.75)])
def test_every_weight_is_a_map_of_the_large_one(tmp_path: Path, model_type: str, width: float) -> None:
    large, student, config = pair(model_type, tmp_path, width=width, layers=2)
    wanted, shapes = names(student), {name: value.shape for name, value in student.named_parameters()}
    map_weights(student, large, random(0))
    weights, found = dict(large.named_parameters()), mapped_weights(student, wanted)
    for name in wanted:
        module, _, leaf = name.rpartition(".")
        maps = student.get_submodule(f"{module}.parametrizations.{leaf}.0")
        source = weights[source_name(name, config, large.config.to_dict())]
        expected = source if maps.left is None else torch.einsum("so,o...->s...", maps.left, source)
        expected = expected if maps.right is None else torch.einsum("...i,ri->...r", expected, maps.right)
        assert found[name].shape == shapes[name]
        torch.testing.assert_close(found[name], expected)
    trained = [name for name, value in student.named_parameters() if value.requires_grad]
    assert trained and all(name.endswith((".left", ".right")) for name in trained)


@pytest.mark.parametrize("model_type", FAMILY_NAMES)
@torch.no_grad()
def test_a_student_as_wide_begins_as_the_model_itself(tmp_path: Path, model_type: str) -> None:
    source = make_checkpoint(tmp_path / "source", TASK, model_type, layers=4)
    large, config = checkpoint.load(source.path, TASK), checkpoint.read_config(source.path)
    student = checkpoint.build(config, TASK)
    wanted = names(student)
    map_weights(student, large, selecting(large, 4))
    ids, mask = make_inputs(3, 9)
    expected = large(input_ids=ids, attention_mask=mask).logits
    torch.testing.assert_close(student(input_ids=ids, attention_mask=mask).logits, expected)
    plain = checkpoint.build(config, TASK, seed=7)
    plain.load_state_dict(mapped_weights(student, wanted), strict=False)
    torch.testing.assert_close(plain(input_ids=ids, attention_mask=mask).logits, expected)


@torch.no_grad()
def test_dimensions_that_do_nothing_are_not_picked(tmp_path: Path) -> None:
    large, student, _ = pair("bert", tmp_path, width=0.5)
    layer = large.bert.encoder.layer[1]
    layer.intermediate.dense.weight[:40] = 0
    layer.output.dense.weight[:, :40] = 0
    for part in (layer.attention.self.query, layer.attention.self.key, layer.attention.self.value):
        part.weight[:16] = 0
    layer.attention.output.dense.weight[:, :16] = 0
    start = selecting(large, 2)
    picked = start(Space(FEED_FORWARD, 1), 24, 64).argmax(1)
    assert picked.tolist() == list(range(40, 64))
    assert start(Space(ATTENTION, 1), 16, 32).argmax(1).tolist() == list(range(16, 32))


def test_heads_are_picked_whole() -> None:
    strength = torch.tensor([1.0, 5, 2, 9, 9, 8, 1, 2])  # four heads of two
    assert strongest_of_heads(strength, 4, 2, 4).tolist() == [2, 3, 4, 5]
    assert strongest_of_heads(strength, 4, 2, 2).tolist() == [3, 4]
    assert strongest_of_heads(strength, 4, 1, 3).tolist() == [3, 4, 5]  # a wider head than there is: from anywhere


def error(student: Path, teacher: Path) -> float:
    tokenizer = checkpoint.load_tokenizer(teacher)
    inputs, _ = collate(TASK.features(make_examples(TASK.name, 16), tokenizer, labelled=True), tokenizer, TASK)
    with torch.no_grad():
        models = (checkpoint.load(path, TASK) for path in (student, teacher))
        first, second = (model(**whole_inputs(model, inputs)).logits for model in models)
    return float((first - second).square().mean())


@pytest.mark.parametrize(
    ("model_type", "start", "updates", "left"), [("bert", "select", 40, 0.5), ("distilbert", "random", 120, 0.9)]
)
def test_the_stage_learns_and_leaves_a_plain_model(
    tmp_path: Path, model_type: str, start: Any, updates: int, left: float
) -> None:
    source = make_checkpoint(tmp_path / "source", TASK, model_type, layers=2)
    runs = []
    for count in (1, updates):
        settings = SqueezeSettings(
            width=0.75, start=start, max_steps=count, epochs=60, batch_size=8, learning_rate=5e-3, hidden=0.1
        )
        runs.append(stage.run(source, settings, make_context(tmp_path / str(count), TASK, source)))
    config, known = checkpoint.read_config(runs[1].path), family(model_type)
    assert Structure.from_config(config).is_stock and config["model_type"] == model_type
    assert (known.hidden_size(config), known.head_count(config), known.intermediate_size(config)) == (24, 3, 48)
    assert error(runs[1].path, source.path) < left * error(runs[0].path, source.path)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"student": {"layers": 1}}, "the student is the squeezed model itself"),
        ({"logits": 0.0}, "every loss has the weight 0"),
        ({"hidden_size": 64, "heads": 4}, "hidden_size 64 is larger than the model's, 32"),
        ({"layers": 5}, "num_hidden_layers 5 is larger than the model's, 4"),
        ({"hidden_size": 30, "heads": 4}, "hidden_size 30 is not a multiple of 4 heads"),
        ({"attention": 1.0}, "compares attention heads one by one"),
        ({"hidden_size": 100000}, "hidden_size 100000 is larger than the model's, 32"),
        ({"width": 0.01}, "width 0.01 leaves none of 4 heads"),
        ({"width": 1.0}, "as large as the model"),
        ({"teachers": ["x"], "augment": {"copeis": 4}}, "teachers and augment cannot be used while the maps learn"),
    ],
)
def test_impossible_students_are_refused_before_any_work(wrong: dict[str, Any], message: str) -> None:
    config = model_config("bert", 4, 32, 4)
    with pytest.raises(RequestError, match=message):
        shape(config, config, SqueezeSettings(**wrong))


def test_an_electra_keeps_a_projection() -> None:
    config = model_config("electra", 2, 32, 4)  # embeddings of 16
    with pytest.raises(RequestError, match="no projection between them"):
        shape(config, config, SqueezeSettings(width=0.5))
    even = {**config, "embedding_size": 32}
    assert shape(even, config, SqueezeSettings(width=0.5))["embedding_size"] == 16


def test_a_changed_model_is_refused() -> None:
    ours = {"base_model_type": "bert", "structure": {"shared_layers": {"layers": [0, 0]}}}
    config = {**model_config("bert", 2, 32, 4), "model_type": "compressor", "compressor": ours}
    with pytest.raises(RequestError, match="the model has shared_layers, .* put squeeze first"):
        shape(config, config, SqueezeSettings())


def test_plan_knows_it() -> None:
    spec = stage_spec("squeeze")
    config = model_config("bert", 2, 32, 4)
    assert spec.load_settings() is SqueezeSettings
    assert spec.load_shape()(config, config, SqueezeSettings()) == shape(config, config, SqueezeSettings())
