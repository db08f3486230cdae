"""Hooks read what transformers itself returns, keep nothing else, and end the pass as soon as they can."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from compressor.models import checkpoint as checkpoints
from compressor.models.families import family_of_model
from compressor.stages.distill.internals import observe
from compressor.stages.distill.losses import split_heads
from compressor.stages.distill.parts import Part
from tests.stages.distill.conftest import make_checkpoint, tiny_task

FAMILIES = ["bert", "roberta", "electra", "distilbert"]
INPUTS = {
    "input_ids": torch.tensor([[2, 7, 8, 9, 3], [2, 6, 3, 0, 0]]),
    "attention_mask": torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]]),
}
TASK = tiny_task("token-classification")


def load(folder: Path, family: str, **changes: Any) -> Any:
    return checkpoints.load(make_checkpoint(folder / family, TASK, family, layers=3, **changes).path, TASK)


@pytest.mark.parametrize("family", FAMILIES)
def test_hidden_states_are_those_that_transformers_returns(tmp_path: Path, family: str) -> None:
    model = load(tmp_path, family)
    outputs, seen = observe(model, INPUTS, [Part("hidden", i) for i in range(4)], outputs=True)
    expected = model(**INPUTS, output_hidden_states=True)
    torch.testing.assert_close(outputs["logits"], expected.logits)
    for i in range(4):
        torch.testing.assert_close(seen[Part("hidden", i)], expected.hidden_states[i])


@pytest.mark.parametrize("family", FAMILIES)
def test_queries_and_keys_give_the_attention_that_transformers_returns(tmp_path: Path, family: str) -> None:
    model = load(tmp_path, family)
    model.set_attn_implementation("eager")
    _, seen = observe(model, INPUTS, [Part("query", 2), Part("key", 2)], outputs=False)
    queries, keys = (split_heads(seen[Part(kind, 2)], 4) for kind in ("query", "key"))  # type: ignore[arg-type]
    scores = queries @ keys.transpose(-1, -2) / queries.shape[-1] ** 0.5
    scores = scores.masked_fill(INPUTS["attention_mask"][:, None, None] == 0, -1e30)
    expected = model(**INPUTS, output_attentions=True).attentions[1]
    torch.testing.assert_close(scores.softmax(-1), expected)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_length_adaptive_model_is_read_at_full_length(tmp_path: Path, family: str) -> None:
    parts = [Part("hidden", i) for i in range(4)] + [Part("value", 3)]
    stock = observe(load(tmp_path, family), INPUTS, parts, outputs=True)
    adaptive = observe(load(tmp_path / "adaptive", family, adaptive=True), INPUTS, parts, outputs=True)
    real = INPUTS["attention_mask"].bool()
    for one, other in zip(stock, adaptive, strict=True):
        for name in one:
            torch.testing.assert_close(one[name][real], other[name][real])  # type: ignore[index]


@pytest.mark.parametrize("family", FAMILIES)
def test_nothing_above_the_last_part_is_run(tmp_path: Path, family: str) -> None:
    model = load(tmp_path, family)
    ran = []
    for i, layer in enumerate(family_of_model(model).layers_of(model), start=1):
        layer.register_forward_pre_hook(lambda *_, i=i: ran.append(i))
    outputs, seen = observe(
        model, INPUTS, [Part("query", 2), Part("key", 2), Part("value", 2), Part("hidden", 0)], outputs=False
    )
    assert ran == [1, 2] and outputs == {} and len(seen) == 4


def test_no_hook_stays_behind(tmp_path: Path) -> None:
    model = load(tmp_path, "bert")
    observe(model, INPUTS, [Part("query", 1)], outputs=False)
    with pytest.raises(IndexError):
        observe(model, {**INPUTS, "input_ids": INPUTS["input_ids"] + 1000}, [Part("query", 1)], outputs=False)
    assert not [module for module in model.modules() if module._forward_hooks]


def test_nothing_wanted_runs_nothing(tmp_path: Path) -> None:
    model = load(tmp_path, "bert")
    model.register_forward_pre_hook(lambda *_: pytest.fail("the model ran"))
    assert observe(model, INPUTS, [], outputs=False) == ({}, {})
