"""Which layers stay, and that exactly those do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from compressor.config.schema import parse
from compressor.errors import CheckpointError, RequestError
from compressor.models import checkpoint
from compressor.models.config_file import read_config
from compressor.models.families import family_of_model
from compressor.models.kinds.adaptive_depth import make_adaptive_depth
from compressor.models.structure import AdaptiveDepth
from compressor.stages.drop_layers.selection import kept_layers
from compressor.stages.drop_layers.settings import DropLayersSettings
from compressor.stages.drop_layers.shape import shape
from compressor.stages.drop_layers.stage import run
from tests.stages.distill.conftest import make_checkpoint, make_context, tiny_task

FAMILY_NAMES = ["bert", "roberta", "distilbert", "electra"]


@pytest.mark.parametrize(
    ("keep", "layers", "total", "expected"),
    [
        ("every_other", None, 12, [1, 3, 5, 7, 9, 11]),
        ("every_other", None, 6, [1, 3, 5]),
        ("every_other", None, 5, [0, 2, 4]),
        ("every_other", 4, 6, [0, 2, 3, 5]),
        ("every_other", 1, 6, [5]),
        ("first", None, 6, [0, 1, 2]),
        ("first", 4, 6, [0, 1, 2, 3]),
        ("last", 2, 6, [4, 5]),
        ("both_ends", 4, 6, [0, 1, 4, 5]),
        ("both_ends", 3, 6, [0, 1, 5]),
        ("both_ends", 1, 6, [0]),
        ([0, 2, 5], None, 6, [0, 2, 5]),
        ([0, 2, 5], 3, 6, [0, 2, 5]),
    ],
)
def test_selection(keep: Any, layers: int | None, total: int, expected: list[int]) -> None:
    assert kept_layers(DropLayersSettings(keep=keep, layers=layers), total) == expected


@given(st.sampled_from(["every_other", "first", "last", "both_ends"]), st.integers(1, 24), st.data())
def test_any_number_of_layers_can_stay(keep: Any, total: int, data: st.DataObject) -> None:
    number = data.draw(st.integers(1, total))
    kept = kept_layers(DropLayersSettings(keep=keep, layers=number), total)
    assert len(kept) == number
    assert kept == sorted(set(kept))
    assert set(kept) <= set(range(total))


@pytest.mark.parametrize(
    ("keep", "layers", "message"),
    [
        ("first", 7, "cannot keep 7 layers of a model that has 6"),
        ([], None, "lists no layer"),
        ([0, 1], 3, "lists 2 layers but `layers` is 3"),
        ([1, 0], None, r"the layers \[1, 0\] must be listed once each"),
        ([1, 1], None, "must be listed once each"),
        ([0, 6], None, "there is no layer 6: the model has 6"),
    ],
)
def test_impossible_selections(keep: Any, layers: int | None, message: str) -> None:
    with pytest.raises(RequestError, match=message):
        kept_layers(DropLayersSettings(keep=keep, layers=layers), 6)


@pytest.mark.parametrize("values", [{"keep": "some"}, {"keep": [-1]}, {"layers": 0}])
def test_settings_are_checked(values: dict[str, Any]) -> None:
    with pytest.raises(RequestError):
        parse(DropLayersSettings, values, where="recipe")


@pytest.mark.parametrize("adaptive", [False, True])
@pytest.mark.parametrize("model_type", FAMILY_NAMES)
def test_the_chosen_layers_stay_as_they_were(tmp_path: Path, model_type: str, adaptive: bool) -> None:
    task = tiny_task("question-answering")
    start = make_checkpoint(tmp_path / "start", task, model_type, layers=4, adaptive=adaptive)
    result = run(start, DropLayersSettings(keep=[0, 3]), make_context(tmp_path, task, start))
    before, after = checkpoint.load(start.path, task), checkpoint.load(result.path, task)
    family = family_of_model(before)
    layers = family.layers_of(after)
    assert len(layers) == 2 == family.layer_count(checkpoint.read_config(result.path))
    for old, new in ((0, 0), (3, 1)):
        expected = family.layers_of(before)[old].state_dict()
        assert all(torch.equal(expected[name], value) for name, value in layers[new].state_dict().items())
    assert torch.equal(before.qa_outputs.weight, after.qa_outputs.weight)
    structure = checkpoint.structure_of(after)
    assert structure.is_stock is not adaptive
    if structure.length_adaptive is not None:
        assert structure.length_adaptive.keep == [0.5, 0.5]
    with torch.no_grad():
        assert after(input_ids=torch.ones(1, 5, dtype=torch.long)).start_logits.shape == (1, 5)


def test_entries_of_dropped_layers_leave_the_length_configuration(tmp_path: Path) -> None:
    task = tiny_task("question-answering")
    start = make_checkpoint(tmp_path / "start", task, layers=4, adaptive=True)
    model = checkpoint.load(start.path, task)
    model.length_adaptive.keep[:] = [0.9, 0.7, 0.5, 0.3]
    checkpoint.save(model, checkpoint.load_tokenizer(start.path), start.path)
    result = run(start, DropLayersSettings(keep="every_other"), make_context(tmp_path, task, start))
    assert checkpoint.read_config(result.path)["compressor"]["structure"]["length_adaptive"]["keep"] == [0.7, 0.3]


def test_a_checkpoint_without_a_head_stays_without_one(tmp_path: Path) -> None:
    other, task = tiny_task("token-classification"), tiny_task("question-answering")
    start = make_checkpoint(tmp_path / "start", other, layers=2)
    result = run(start, DropLayersSettings(layers=1), make_context(tmp_path, task, start))
    assert not checkpoint.has_head(result.path, task)
    assert checkpoint.has_head(result.path, other)


def test_a_damaged_checkpoint_does_not_go_on(tmp_path: Path) -> None:
    task = tiny_task("question-answering")
    start = make_checkpoint(tmp_path / "start", task, layers=2)
    file = start.path / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-9])
    context = make_context(tmp_path, task, start)
    with pytest.raises(CheckpointError, match="damaged"):
        run(start, DropLayersSettings(layers=1), context)
    assert not context.output.exists()


def test_exits_move_with_their_layers(tmp_path: Path) -> None:
    """The exit behind the last layer that stays is dropped: the model's own head takes its place."""
    task = tiny_task("text-classification")
    source = make_checkpoint(tmp_path, task, layers=4)
    model = make_adaptive_depth(checkpoint.load(source.path, task), AdaptiveDepth(method="pabee", setting=1))
    checkpoint.save(model, checkpoint.load_tokenizer(source.path), source.path)
    context = make_context(tmp_path, task, source)
    result = run(source, parse(DropLayersSettings, {"keep": [0, 1, 2]}, where="test"), context)
    smaller: Any = checkpoint.load(result.path, task)
    assert list(smaller.exits) == ["0", "1"]
    exits: Any = model.exits
    assert torch.equal(smaller.exits["0"].out.weight, exits["0"].out.weight)
    assert torch.equal(smaller.classifier.weight, model.classifier.weight)
    with torch.no_grad():
        assert int(smaller(torch.full((1, 6), 7)).blocks_run) <= 3
    with pytest.raises(RequestError, match="drop_layers: patience 1 needs 2 exits or more"):
        shape(read_config(source.path), {}, parse(DropLayersSettings, {"keep": [0, 2]}, where="test"))
    with pytest.raises(RequestError, match="has no exit left to stop at"):
        shape(read_config(source.path), {}, parse(DropLayersSettings, {"keep": [1]}, where="test"))
