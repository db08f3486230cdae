"""Groups of layers, what they start from, and what may not be shared."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from compressor.errors import RequestError
from compressor.models import checkpoint, macs
from compressor.models.families import family_of_model
from compressor.models.structure import SharedLayers, Structure
from compressor.stages.context import Checkpoint
from compressor.stages.distill.internals import observe
from compressor.stages.distill.parts import Part
from compressor.stages.distill.settings import DistillSettings
from compressor.stages.distill.stage import run as distill
from compressor.stages.registry import stage_spec
from compressor.stages.share_layers import stage
from compressor.stages.share_layers.settings import ShareLayersSettings
from compressor.stages.share_layers.shape import group_owners, shape
from compressor.training import collate
from tests.stages.distill.conftest import make_checkpoint, make_context, make_examples, model_config, tiny_task


@pytest.mark.parametrize(
    ("groups", "layers", "owners"),
    [
        ("all", 4, [0, 0, 0, 0]),
        ("pairs", 5, [0, 0, 2, 2, 4]),
        (2, 5, [0, 0, 0, 3, 3]),
        (3, 4, [0, 0, 2, 3]),
        (1, 2, [0, 0]),
    ],
)
def test_groups_of_neighbours(groups: Any, layers: int, owners: list[int]) -> None:
    assert group_owners(ShareLayersSettings(groups=groups), layers) == owners


@pytest.mark.parametrize(("groups", "layers"), [(4, 4), (5, 4), ("all", 1), ("pairs", 1)])
def test_nothing_to_share_is_an_error(groups: Any, layers: int) -> None:
    with pytest.raises(RequestError, match="share nothing: take fewer groups"):
        group_owners(ShareLayersSettings(groups=groups), layers)


@pytest.mark.parametrize(
    ("model_type", "start"), [("bert", "mean"), ("bert", "first"), ("distilbert", "mean"), ("electra", "first")]
)
def test_the_stage_shares(tmp_path: Path, model_type: str, start: Any) -> None:
    task = tiny_task("text-classification")
    source = make_checkpoint(tmp_path / "source", task, model_type, layers=3)
    result = stage.run(source, ShareLayersSettings(groups=2, start=start), make_context(tmp_path, task, source))
    whole, shared = checkpoint.load(source.path, task), checkpoint.load(result.path, task)
    family = family_of_model(whole)
    old, new = list(family.layers_of(whole)), list(family.layers_of(shared))
    assert new[0] is new[1] is not new[2]
    for name, parameter in new[0].named_parameters():
        first, second = (layer.get_parameter(name) for layer in old[:2])
        assert torch.allclose(parameter, (first + second) / 2 if start == "mean" else first)
    for name, parameter in new[2].named_parameters():
        assert torch.equal(parameter, old[2].get_parameter(name))
    config = checkpoint.read_config(result.path)
    assert macs.parameter_count(config, task) == sum(p.numel() for p in shared.parameters())
    assert (result.path / "model.safetensors").stat().st_size < (source.path / "model.safetensors").stat().st_size


def test_each_run_of_a_shared_layer_is_seen_for_itself(tmp_path: Path) -> None:
    task = tiny_task("text-classification")
    source = make_checkpoint(tmp_path / "source", task, layers=3)
    result = stage.run(source, ShareLayersSettings(), make_context(tmp_path, task, source))
    model: Any = checkpoint.load(result.path, task)
    tokenizer = checkpoint.load_tokenizer(result.path)
    inputs, _ = collate(task.features(make_examples(task.name, 2), tokenizer, labelled=True), tokenizer, task)
    parts = [Part("hidden", layer) for layer in range(4)]
    with torch.no_grad():
        _, seen = observe(model, inputs, parts, outputs=False)
        states = model(**inputs, output_hidden_states=True).hidden_states
    for part, expected in zip(parts, states, strict=True):
        torch.testing.assert_close(seen[part], expected)
    assert not torch.allclose(seen[parts[1]], seen[parts[2]])


def config_with(**structure: Any) -> dict[str, Any]:
    ours = {"base_model_type": "bert", "structure": structure}
    return {**model_config("bert", 3, 32, 4), "model_type": "compressor", "compressor": ours}


def test_layers_of_other_widths_are_refused() -> None:
    config = config_with(widths={"heads": [4, 2, 2], "feed_forward": [64, 64, 64], "head_size": 8})
    with pytest.raises(RequestError, match="layers 0 and 1 are of different widths"):
        shape(config, {}, ShareLayersSettings())


def test_groups_may_grow_but_not_split() -> None:
    config = config_with(shared_layers={"layers": [0, 1, 1]})
    after = shape(config, {}, ShareLayersSettings())
    assert Structure.from_config(after).shared_layers == SharedLayers(layers=[0, 0, 0])
    with pytest.raises(RequestError, match="layers 1 and 2 share their weights already"):
        shape(config, {}, ShareLayersSettings(groups="pairs"))


def test_factors_are_refused() -> None:
    low_rank = Structure.from_config(config_with(low_rank={"ranks": {"bert.encoder.layer.0.output.dense": 4}}))
    with pytest.raises(RequestError, match="stage 'share' cannot work on .*: put low_rank behind it"):
        stage_spec("share_layers").check_structure(low_rank, "share")


def test_what_was_shared_learns_together(tmp_path: Path) -> None:
    task = tiny_task("text-classification")
    source = make_checkpoint(tmp_path / "source", task, layers=3)
    shared = stage.run(source, ShareLayersSettings(), make_context(tmp_path / "a", task, source))
    settings = DistillSettings(hidden=1.0, attention=1.0, epochs=8, learning_rate=1e-3, batch_size=8)
    result = distill(shared, settings, make_context(tmp_path / "b", task, source))

    def error(path: Checkpoint) -> float:
        student, teacher = checkpoint.load(path.path, task), checkpoint.load(source.path, task)
        tokenizer = checkpoint.load_tokenizer(source.path)
        inputs, _ = collate(task.features(make_examples(task.name, 12), tokenizer, labelled=True), tokenizer, task)
        with torch.no_grad():
            return float((student(**inputs).logits - teacher(**inputs).logits).square().mean())

    assert error(result) < 0.7 * error(shared)
    structure = Structure.from_config(checkpoint.read_config(result.path))
    assert structure.shared_layers == SharedLayers(layers=[0, 0, 0])
