"""The stage from checkpoint to checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from compressor.errors import RequestError
from compressor.models import checkpoint
from compressor.models.structure import LengthAdaptive, SplitLayers, Structure
from compressor.stages.deformer import stage
from compressor.stages.deformer.settings import DeformerSettings
from compressor.stages.deformer.shape import shape
from compressor.stages.distill.lesson import lesson
from compressor.stages.registry import stage_spec
from compressor.training import collate
from tests.stages.distill.conftest import make_checkpoint, make_context, model_config, tiny_task

QUESTIONS = tiny_task("question-answering")


def test_it_comes_near_the_teacher(tmp_path: Path) -> None:
    source = make_checkpoint(tmp_path / "source", QUESTIONS, layers=3)
    context = make_context(tmp_path, QUESTIONS, source)
    settings = DeformerSettings(layers=2, second_position=12, labels=0, epochs=20, batch_size=8, learning_rate=2e-3)
    result = stage.run(source, settings, context)
    model: Any = checkpoint.load(result.path, QUESTIONS)
    assert checkpoint.structure_of(model) == Structure(split_layers=SplitLayers(layers=2, second_position=12))
    tokenizer = checkpoint.load_tokenizer(result.path)
    inputs, _ = collate(QUESTIONS.features(context.data.train, tokenizer, labelled=True), tokenizer, QUESTIONS)
    teacher: Any = checkpoint.load(source.path, QUESTIONS)
    untrained: Any = checkpoint.load(source.path, QUESTIONS)
    untrained.config.sep_token_id = tokenizer.sep_token_id
    untrained = stage.make_split_layers(untrained, SplitLayers(layers=2, second_position=12))
    with torch.no_grad():
        wanted = torch.softmax(teacher(**inputs).start_logits, dim=-1)
        far = [
            (torch.softmax(one(**inputs).start_logits, dim=-1) - wanted).abs().mean().item()
            for one in (model, untrained)
        ]
    assert far[0] < 0.7 * far[1]


def test_hidden_states_count_where_both_texts_are_seen(tmp_path: Path) -> None:
    source = make_checkpoint(tmp_path / "source", QUESTIONS, layers=4)
    student = checkpoint.load(source.path, QUESTIONS)
    _, objective = lesson(
        student, DeformerSettings().losses(), make_context(tmp_path, QUESTIONS, source), hidden_layers=range(3, 5)
    )
    assert objective.matching.hidden_pairs == [(3, 3), (4, 4)]


def test_single_texts_are_refused(tmp_path: Path) -> None:
    task = tiny_task("text-classification")
    source = make_checkpoint(tmp_path / "source", task, layers=2)
    with pytest.raises(RequestError, match="no input of the training data is a pair of texts"):
        stage.run(source, DeformerSettings(max_steps=1), make_context(tmp_path, task, source))


def test_plan_knows_the_shape() -> None:
    config = model_config("bert", 12, 32, 4)
    after = Structure.from_config(shape(config, config, DeformerSettings()))
    assert after.split_layers == SplitLayers(layers=9, second_position=8)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"layers": 4}, "4 of the model's 4 layers cannot keep the texts apart"),
        ({"layers": 2, "second_position": 64}, "second_position = 64 is not possible: the model has 64 positions"),
    ],
)
def test_impossible_settings_are_refused(settings: dict[str, int], message: str) -> None:
    config = model_config("bert", 4, 32, 4)
    with pytest.raises(RequestError, match=message):
        shape(config, config, DeformerSettings(**settings))


def test_learning_from_nothing_is_refused() -> None:
    with pytest.raises(RequestError, match="deformer: every loss has the weight 0"):
        DeformerSettings(labels=0, logits=0, hidden=0)


def test_tokens_are_not_dropped_where_texts_are_apart() -> None:
    split = Structure(split_layers=SplitLayers(layers=1, second_position=8))
    for name in ("length_adaptive", "power_bert"):
        with pytest.raises(RequestError, match=f"stage '{name}' cannot work on a model that keeps two texts apart"):
            stage_spec(name).check_structure(split, name)
    with pytest.raises(RequestError, match="'deformer' cannot work on a model that drops tokens"):
        stage_spec("deformer").check_structure(Structure(length_adaptive=LengthAdaptive(keep=[1.0])), "deformer")
