"""Which space each axis of a weight lies in: the sizes agree everywhere, and what has a place of its own has it."""

from __future__ import annotations

import pytest
import torch

from compressor.errors import CheckpointError
from compressor.models import checkpoint
from compressor.models.families import family
from compressor.models.kinds.low_rank import make_embedding_rank
from compressor.models.kinds.widths import narrow
from compressor.models.spaces import ATTENTION, EMBEDDING, FEED_FORWARD, STREAM, SUMMARY, Space, axes_of
from compressor.models.structure import EmbeddingRank
from tests.models.conftest import TASK_NAMES
from tests.stages.distill.conftest import model_config, tiny_task


@pytest.mark.parametrize("task", TASK_NAMES)
def test_a_space_has_one_size(model_type: str, task: str) -> None:
    model = narrow(
        checkpoint.build(model_config(model_type, 2, 32, 4), tiny_task(task)), [[0, 1, 2], [3]], [range(50), range(40)]
    )
    weights, sizes = dict(model.named_parameters()), {}
    for name, axes in axes_of(weights, family(model_type)).items():
        assert len(axes) == weights[name].ndim
        for size, space in zip(weights[name].shape, axes, strict=True):
            if space is not None:
                assert sizes.setdefault(space, size) == size
    layers = {Space(ATTENTION, 0): 24, Space(ATTENTION, 1): 8, Space(FEED_FORWARD, 0): 50, Space(FEED_FORWARD, 1): 40}
    embedding = {Space(EMBEDDING): 16} if model_type == "electra" else {}
    summary = {Space(SUMMARY): 32} if task.startswith("text") else {}
    assert sizes == {Space(STREAM): 32, **layers, **embedding, **summary}


def test_the_places_of_a_family_with_narrow_embeddings() -> None:
    model = checkpoint.build(model_config("electra", 2, 32, 4), tiny_task("text-classification"))
    axes, stream, narrow_ = axes_of(dict(model.named_parameters()), family("electra")), Space(STREAM), Space(EMBEDDING)
    assert axes["electra.embeddings.word_embeddings.weight"] == (None, narrow_)
    assert axes["electra.embeddings.LayerNorm.bias"] == (narrow_,)
    assert axes["electra.embeddings_project.weight"] == (stream, narrow_)
    assert axes["electra.encoder.layer.1.output.dense.weight"] == (stream, Space(FEED_FORWARD, 1))
    assert axes["electra.encoder.layer.1.output.LayerNorm.weight"] == (stream,)
    assert axes["electra.encoder.layer.0.attention.self.key.bias"] == (Space(ATTENTION, 0),)
    assert axes["classifier.dense.weight"] == (Space(SUMMARY), stream)
    assert axes["classifier.out_proj.weight"] == (None, Space(SUMMARY))
    assert axes["classifier.out_proj.bias"] == (None,)


def test_a_factorized_table_is_in_no_space_but_its_projection_is() -> None:
    model = checkpoint.build(model_config("bert", 1, 32, 4), tiny_task("text-classification"))
    axes = axes_of(dict(make_embedding_rank(model, EmbeddingRank(rank=4)).named_parameters()), family("bert"))
    assert axes["bert.embeddings.word_embeddings.weight"] == (None, None)
    assert axes["bert.embeddings.word_embeddings.projection.weight"] == (Space(STREAM), None)


def test_a_weight_without_a_place_is_an_error() -> None:
    with pytest.raises(CheckpointError, match="'exits.0.out.weight' belongs to no part of a bert encoder"):
        axes_of({"exits.0.out.weight": torch.zeros(2, 32)}, family("bert"))
