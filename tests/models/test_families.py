"""Families know where their parts are."""

from __future__ import annotations

import dataclasses
from operator import attrgetter

import pytest
from torch import nn

from compressor.errors import CheckpointError
from compressor.models.families import FAMILIES, base_model_type, family, family_of_model
from tests.models.conftest import make_model
from tests.stages.distill.conftest import tiny_task

LAYER_PARTS = [
    "query", "key", "value", "attention_output", "attention_output_dropout", "attention_norm", "feed_forward_in",
    "activation", "feed_forward_out", "feed_forward_dropout", "feed_forward_norm",
]  # fmt: skip


def test_every_part_of_every_layer_is_where_the_family_says(model_type: str) -> None:
    model = make_model(model_type)
    known = family_of_model(model)
    layers = known.layers_of(model)
    assert len(layers) == known.layer_count(model.config.to_dict()) == 3
    assert {field.name for field in dataclasses.fields(known)} > set(LAYER_PARTS)
    found: set[int] = set()
    for layer in layers:
        for part in LAYER_PARTS:
            path = getattr(known, part)
            if path is not None:
                found.add(id(attrgetter(path)(layer)))
    linears = {id(module) for layer in layers for module in layer.modules() if isinstance(module, nn.Linear)}
    norms = {id(module) for layer in layers for module in layer.modules() if isinstance(module, nn.LayerNorm)}
    assert linears | norms <= found


def test_sizes_are_read_from_the_config(model_type: str) -> None:
    config = make_model(model_type).config.to_dict()
    known = family(model_type)
    assert (known.hidden_size(config), known.head_count(config), known.intermediate_size(config)) == (32, 4, 64)
    assert known.embedding_size(config) == (16 if model_type == "electra" else 32)


def test_the_dense_layer_of_the_classification_head_exists(model_type: str) -> None:
    model = make_model(model_type, tiny_task("text-classification"))
    assert isinstance(attrgetter(family(model_type).classifier_dense)(model), nn.Linear)


@pytest.mark.parametrize("name", ["gpt2", None, 7])
def test_other_models_are_refused_by_name(name: object) -> None:
    with pytest.raises(CheckpointError, match="not a BERT-like encoder: choose a model of bert, distilbert, electra"):
        family(name)


def test_a_changed_checkpoint_remembers_its_family() -> None:
    assert base_model_type({"model_type": "compressor", "compressor": {"base_model_type": "bert"}}) == "bert"
    assert set(FAMILIES) == {"bert", "roberta", "distilbert", "electra"}
