"""Pruning heads, units and the residual stream: what stays, that it runs everywhere, and that it matters what stays."""

from __future__ import annotations

from operator import attrgetter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from compressor.config.device import DeviceProfile, Provider
from compressor.config.schema import parse
from compressor.errors import RequestError
from compressor.graph.context import PassContext
from compressor.graph.export import export
from compressor.graph.registry import pass_spec, run_pass
from compressor.models import checkpoint, macs
from compressor.models.families import family_of_model
from compressor.models.kinds.widths import even_widths
from compressor.models.structure import Structure
from compressor.progress import Silent
from compressor.stages.context import Checkpoint
from compressor.stages.drop_layers.settings import DropLayersSettings
from compressor.stages.drop_layers.stage import run as drop_layers
from compressor.stages.prune_widths.settings import PruneWidthsSettings
from compressor.stages.prune_widths.shape import shape
from compressor.stages.prune_widths.stage import run
from compressor.stages.registry import stage_spec
from tests.models.conftest import FAMILY_NAMES, make_inputs
from tests.models.test_widths import run as run_graph
from tests.stages.distill.conftest import make_checkpoint, make_context, tiny_task


def pruned(folder: Path, source: Checkpoint, task: Any, **values: Any) -> Checkpoint:
    settings = parse(PruneWidthsSettings, {"samples": 12, **values}, where="test")
    return run(source, settings, make_context(folder, task, source))


def pass_context(result: Checkpoint, task: Any, folder: Path) -> PassContext:
    return PassContext(
        task=task,
        data=make_context(folder, task, result).data,
        tokenizer=checkpoint.load_tokenizer(result.path),
        checkpoint=result,
        device=DeviceProfile(name="test", description="", providers=[Provider(name="CPUExecutionProvider")]),
        seed=0,
        progress=Silent(),
    )


@pytest.mark.parametrize("model_type", FAMILY_NAMES)
@torch.no_grad()
def test_all_three_at_once_in_every_family_from_the_checkpoint_to_int8(tmp_path: Path, model_type: str) -> None:
    task = tiny_task("text-classification")
    source = make_checkpoint(tmp_path / "source", task, model_type, hidden=128)
    values = {"heads": 0.5, "feed_forward": 0.5, "hidden": 96, "steps": 2, "uneven": True}
    result = pruned(tmp_path, source, task, **values)
    model: Any = checkpoint.load(result.path, task)
    config = checkpoint.read_config(result.path)
    widths = even_widths(config)
    assert (
        sum(widths.heads) == 4 and sum(widths.feed_forward) == 256 and family_of_model(model).hidden_size(config) == 96
    )
    assert all(units % 8 == 0 for units in widths.feed_forward)
    foretold = shape(checkpoint.read_config(source.path), {}, parse(PruneWidthsSettings, values, where="test"))
    parameters = sum(p.numel() for p in model.parameters())
    assert macs.parameter_count(config, task.name) == parameters == macs.parameter_count(foretold, task.name)
    ids, mask = make_inputs(4, 12)
    mask[1, 7:] = 0
    expected = model(input_ids=ids, attention_mask=mask).logits.numpy()
    export(result, task, tmp_path / "plain.onnx", opset=17, dial="optional")
    np.testing.assert_allclose(run_graph(tmp_path / "plain.onnx", ids, mask)[0], expected, atol=1e-4)
    context = pass_context(result, task, tmp_path)
    fuse, quantize = pass_spec("fuse"), pass_spec("quantize")
    notes = run_pass(fuse, tmp_path / "plain.onnx", tmp_path / "fused.onnx", fuse.load_settings()(), context).notes
    assert notes["fused"]["attention"] == 2
    np.testing.assert_allclose(run_graph(tmp_path / "fused.onnx", ids, mask)[0], expected, atol=1e-4)
    settings = parse(quantize.load_settings(), {"mode": "dynamic"}, where="test")
    run_pass(quantize, tmp_path / "fused.onnx", tmp_path / "int8.onnx", settings, context)
    assert np.abs(run_graph(tmp_path / "int8.onnx", ids, mask)[0] - expected).max() < 0.1 * np.abs(expected).max() + 0.1
    assert (tmp_path / "int8.onnx").stat().st_size < (tmp_path / "fused.onnx").stat().st_size


@pytest.mark.parametrize(("values", "stock"), [
    ({"feed_forward": 0.5}, True),
    ({"heads": 0.5}, False),
    ({"hidden": 0.5}, False),
    ({"hidden": 0.5, "heads": 0.5}, True),
])  # fmt: skip
@torch.no_grad()
def test_what_plain_transformers_can_say_stays_stock(tmp_path: Path, values: dict[str, Any], stock: bool) -> None:
    import transformers

    task = tiny_task("text-classification")
    source = make_checkpoint(tmp_path / "source", task)
    result = pruned(tmp_path, source, task, importance="magnitude", **values)
    config = checkpoint.read_config(result.path)
    assert Structure.from_config(config).is_stock == stock
    settings = parse(PruneWidthsSettings, values, where="test")
    foretold = shape(checkpoint.read_config(source.path), {}, settings)
    assert {key: config[key] for key in foretold if key not in ("compressor", "architectures")} == {
        key: value for key, value in foretold.items() if key not in ("compressor", "architectures")
    }
    assert Structure.from_config(foretold) == Structure.from_config(config)
    if stock:
        ids, mask = make_inputs(2, 9)
        plain = transformers.AutoModelForSequenceClassification.from_pretrained(result.path)
        ours = checkpoint.load(result.path, task)
        torch.testing.assert_close(
            plain(input_ids=ids, attention_mask=mask).logits, ours(input_ids=ids, attention_mask=mask).logits
        )


@pytest.mark.parametrize("task_name", ["question-answering", "token-classification", "text-regression"])
@torch.no_grad()
def test_every_task_and_length_adaptive_models(tmp_path: Path, task_name: str) -> None:
    task = tiny_task(task_name)
    source = make_checkpoint(tmp_path / "source", task, layers=3, adaptive=True)
    result = pruned(tmp_path / "pruned", source, task, heads=[1, 4, 2], feed_forward=0.25, hidden=0.75)
    fewer = drop_layers(
        result,
        DropLayersSettings(keep="importance", layers=2, samples=8),
        make_context(tmp_path / "drop", task, source),
    )
    for made in (result, fewer):
        model: Any = checkpoint.load(made.path, task)
        structure = checkpoint.structure_of(model)
        assert structure.length_adaptive is not None and structure.widths is not None
        ids, mask = make_inputs(3, 11)
        export(made, task, made.path / "graph.onnx", opset=17, dial="optional")
        outputs = model(input_ids=ids, attention_mask=mask)
        for name, found in zip(task.output_names, run_graph(made.path / "graph.onnx", ids, mask), strict=False):
            np.testing.assert_allclose(found, outputs[name].numpy(), atol=1e-4)


@pytest.mark.parametrize("importance", ["taylor", "fisher", "magnitude"])
@torch.no_grad()
def test_dead_parts_go_first(tmp_path: Path, importance: str) -> None:
    """Heads, units and dimensions that do nothing are found, so that the smaller model says the same."""
    task = tiny_task("text-classification")
    source = make_checkpoint(tmp_path / "source", task)
    model = checkpoint.load(source.path, task)
    family = family_of_model(model)
    for layer, head, units in zip(family.layers_of(model), (2, 0), (range(16, 40), range(24)), strict=True):
        rows = slice(8 * head, 8 * head + 8)
        for path in (family.query, family.key, family.value):
            attrgetter(path)(layer).weight[rows] = 0
        attrgetter(family.attention_output)(layer).weight[:, rows] = 0
        attrgetter(family.feed_forward_in)(layer).weight[list(units)] = 0
        attrgetter(family.feed_forward_out)(layer).weight[:, list(units)] = 0
    checkpoint.save(model, checkpoint.load_tokenizer(source.path), source.path)
    result = pruned(tmp_path, source, task, heads=0.75, feed_forward=0.625, importance=importance)
    ids, mask = make_inputs(5, 12)
    torch.testing.assert_close(
        checkpoint.load(result.path, task)(input_ids=ids, attention_mask=mask).logits,
        model(input_ids=ids, attention_mask=mask).logits,
    )


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"heads": 0.1}, r"heads = 0.1 leaves 0 of 4 in layer 0"),
        ({"heads": 0.25, "uneven": True, "minimum_heads": 2}, "leaves 2 of 8 in all layers together, and at least 4"),
        ({"feed_forward": 0.05}, r"feed_forward = 0.05 leaves 0 of 64"),
        ({"hidden": 0.1}, r"hidden = 0.1 leaves 0 of 32 in the residual stream"),
        ({"hidden": 40}, "hidden = 40 is more than the model has, 32"),
        ({"heads": [1, 2, 3]}, "3 entries, the model has 2 layers"),
        ({"heads": [1, 5]}, "asks for 5 in layer 1, which has 4"),
        ({"feed_forward": [8, 65]}, "asks for 65 in layer 1, which has 64"),
        ({}, "all heads, feed_forward units and hidden dimensions stay"),
        ({"heads": 1.5}, "'heads' = 1.5 is not possible"),
        ({"feed_forward": 0}, "'feed_forward' = 0 is not possible"),
    ],
)  # fmt: skip
def test_impossible_settings_are_refused_before_any_work(values: dict[str, Any], message: str, tmp_path: Path) -> None:
    task = tiny_task("text-classification")
    config = checkpoint.read_config(make_checkpoint(tmp_path / "source", task).path)
    with pytest.raises(RequestError, match=message):
        shape(config, {}, parse(PruneWidthsSettings, values, where="test"))


@pytest.mark.parametrize("values", [{"hidden": 0.5}, {"hidden": 8, "steps": 3}])
def test_a_projection_cannot_be_pruned_away(values: dict[str, Any], tmp_path: Path) -> None:
    """An ELECTRA's embeddings of 16 go through a product to its 32 dimensions, which a model of 16 does not have."""
    task = tiny_task("text-classification")
    source = make_checkpoint(tmp_path / "source", task, "electra")
    with pytest.raises(RequestError, match="at a hidden width of 16, that of the embeddings, the model has no proj"):
        shape(checkpoint.read_config(source.path), {}, parse(PruneWidthsSettings, values, where="test"))
    assert pruned(tmp_path, source, task, hidden=8).path.exists()


def test_models_that_cannot_be_cut_are_refused() -> None:
    exits = {"adaptive_depth": {"method": "pabee", "setting": 1}}
    for entry, reason in ((exits, "exits"), ({"low_rank": {"ranks": {"a.0.b": 2}}}, "products already")):
        structure = Structure.from_config({"compressor": {"structure": entry}})
        with pytest.raises(RequestError, match=reason):
            stage_spec("prune_widths").check_structure(structure, "prune_widths")


def test_only_gradients_read_data() -> None:
    spec = stage_spec("prune_widths")
    assert spec.parts_read(PruneWidthsSettings(heads=0.5)) == ("train",)
    assert spec.parts_read(PruneWidthsSettings(heads=0.5, importance="magnitude")) == ()
    assert stage_spec("drop_layers").parts_read(DropLayersSettings()) == ()
    assert stage_spec("drop_layers").parts_read(DropLayersSettings(keep="importance")) == ("train",)
