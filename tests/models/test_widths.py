"""Layers of uneven width: the weights that stay, saving, loading, the other kinds on top, and the graph."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch

from compressor.errors import CheckpointError
from compressor.graph.export import export
from compressor.models import checkpoint, macs
from compressor.models.families import family_of_model
from compressor.models.kinds.adaptive_depth import make_adaptive_depth
from compressor.models.kinds.length_adaptive import make_length_adaptive
from compressor.models.kinds.widths import even_widths, layer_widths, make_widths, narrow
from compressor.models.structure import AdaptiveDepth, LengthAdaptive, Structure, Widths
from compressor.stages.context import Checkpoint
from tests.models.conftest import make_inputs, make_model
from tests.stages.distill.conftest import make_tokenizer, tiny_task

LAYERS = 3
HEADS = [[0, 2, 3], [1], [0, 1, 2, 3]]
UNITS = [list(range(0, 64, 2)), [5, 7, 60], list(range(64))]


def narrowed(model_type: str = "bert", task: str = "text-classification") -> Any:
    return narrow(make_model(model_type, tiny_task(task), layers=LAYERS), HEADS, UNITS).eval()


@torch.no_grad()
def test_what_goes_is_as_if_it_were_zero(model_type: str) -> None:
    whole = make_model(model_type, tiny_task("text-classification"), layers=LAYERS)
    size = even_widths(whole.config.to_dict()).head_size
    family = family_of_model(whole)
    for layer, heads, units in zip(family.layers_of(whole), HEADS, UNITS, strict=True):
        for head in range(4):
            if head not in heads:
                layer.get_submodule(family.attention_output).weight[:, head * size : (head + 1) * size] = 0
        gone = [unit for unit in range(64) if unit not in units]
        layer.get_submodule(family.feed_forward_out).weight[:, gone] = 0
    ids, mask = make_inputs(5, 12)
    expected = whole(input_ids=ids, attention_mask=mask).logits
    found = narrow(whole, HEADS, UNITS)(input_ids=ids, attention_mask=mask).logits
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def run(path: Path, ids: torch.Tensor, mask: torch.Tensor) -> list[Any]:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    feed = {"input_ids": ids.numpy(), "attention_mask": mask.numpy(), "token_type_ids": np.zeros_like(ids.numpy())}
    known = [entry.name for entry in session.get_inputs()]
    return session.run(None, {name: value for name, value in feed.items() if name in known})


@pytest.mark.parametrize("other", ["none", "lengths", "depth"])
@torch.no_grad()
def test_it_saves_loads_and_exports_with_the_other_kinds(model_type: str, other: str, tmp_path: Path) -> None:
    task = tiny_task("text-classification")
    model = narrowed(model_type)
    if other == "lengths":
        make_length_adaptive(model, LengthAdaptive(keep=[0.9, 0.6, 0.4], restore=False, protect_first=True))
    if other == "depth":
        make_adaptive_depth(model, AdaptiveDepth(method="deebert", setting=0.5))
    checkpoint.save(model.eval(), make_tokenizer([f"w{number}" for number in range(34)]), tmp_path / "checkpoint")
    loaded = checkpoint.load(tmp_path / "checkpoint", task)
    assert checkpoint.structure_of(loaded) == checkpoint.structure_of(model)
    assert (checkpoint.structure_of(loaded).widths or Widths([], [], 1)).heads == [3, 1, 4]
    ids, mask = make_inputs(4, 12)
    mask[1, 7:] = 0
    expected = model(input_ids=ids, attention_mask=mask).logits
    torch.testing.assert_close(loaded(input_ids=ids, attention_mask=mask).logits, expected)
    export(Checkpoint(tmp_path / "checkpoint", "key"), task, tmp_path / "graph.onnx", opset=17, dial="optional")
    np.testing.assert_allclose(run(tmp_path / "graph.onnx", ids, mask)[0], expected.numpy(), atol=1e-4)


@pytest.mark.parametrize("task", ["question-answering", "token-classification"])
@torch.no_grad()
def test_tasks_that_read_every_token(task: str, tmp_path: Path) -> None:
    model = narrowed(task=task)
    checkpoint.save(model, make_tokenizer([f"w{number}" for number in range(34)]), tmp_path / "checkpoint")
    export(Checkpoint(tmp_path / "checkpoint", "key"), tiny_task(task), tmp_path / "graph.onnx", opset=17, dial="fixed")
    ids, mask = make_inputs(4, 12)
    found = run(tmp_path / "graph.onnx", ids, mask)
    outputs = model(input_ids=ids, attention_mask=mask)
    for name, array in zip(tiny_task(task).output_names, found, strict=True):
        np.testing.assert_allclose(array, outputs[name].numpy(), atol=1e-4)


def test_macs_and_parameters_fall() -> None:
    model = narrowed()
    config = checkpoint.config_to_save(model)
    assert macs.parameter_count(config, "text-classification") == sum(p.numel() for p in model.parameters())
    assert [width.attention for width in layer_widths(config)] == [24, 8, 32]
    stock = checkpoint.config_to_save(make_model("bert", tiny_task("text-classification"), layers=LAYERS))
    less, more = (
        macs.count(entry, Structure.from_config(entry), length=16, task="text-classification")
        for entry in (config, stock)
    )
    gone = 16 * (4 * 32 * (8 + 24) + 2 * 16 * (8 + 24) + 2 * 32 * (32 + 61))
    assert more - less == gone


def test_a_wrong_number_of_layers_is_an_error() -> None:
    model = make_model("bert", tiny_task("text-classification"), layers=LAYERS)
    with pytest.raises(CheckpointError, match="2 and 2 entries, the model has 3 layers"):
        make_widths(model, Widths(heads=[1, 1], feed_forward=[4, 4], head_size=8))


def test_fewer_layers_lose_their_widths() -> None:
    structure = Structure(widths=Widths(heads=[3, 1, 4], feed_forward=[32, 3, 64], head_size=8))
    assert structure.with_layers([0, 2]).widths == Widths(heads=[3, 4], feed_forward=[32, 64], head_size=8)
