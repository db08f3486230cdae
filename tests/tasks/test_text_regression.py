from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from compressor.config.run import FeatureSettings
from compressor.errors import DataError
from compressor.tasks import make_task
from compressor.tasks.examples import ScoredExample, TextExample


def task(**settings: Any) -> Any:
    return make_task("text-regression", FeatureSettings(**settings))


def examples(*scores: float | None) -> list[ScoredExample]:
    return [ScoredExample("the cat", "on a mat", score) for score in scores]


def test_features_are_those_of_classification_with_the_number_as_the_label(bert_tokenizer: Any) -> None:
    classes = make_task("text-classification", FeatureSettings(max_length=16), ("yes",))
    pairs = [("the cat", None), ("the cat " * 20, "on a mat " * 20)]
    ours = task(max_length=16).features([ScoredExample(*pair, 2.5) for pair in pairs], bert_tokenizer, labelled=True)
    theirs = classes.features([TextExample(*pair, ("yes",)) for pair in pairs], bert_tokenizer, labelled=True)
    assert [feature.inputs for feature in ours] == [feature.inputs for feature in theirs]
    assert [feature.labels for feature in ours] == [{"labels": 2.5}] * 2
    assert task().max_length == 128


def test_decode_gives_the_logit_itself(bert_tokenizer: Any) -> None:
    made = task(max_length=16)
    features = made.features(examples(None, None), bert_tokenizer, labelled=False)
    outputs = [{"logits": np.array([number], np.float32)} for number in (4.25, -1.5)]
    assert made.decode(examples(None, None), features, outputs) == [4.25, -1.5]


def test_correlations_by_hand() -> None:
    gold, found = (1.0, 2.0, 3.0, 4.0), [0.0, 5.0, 4.0, 6.0]
    scores = task().score(examples(*gold), found)
    assert list(scores) == list(task().metric_names) == ["spearman", "pearson"]
    assert scores["spearman"] == pytest.approx(100 * (1 - 6 * 2 / (4 * 15)))  # ranks 1 3 2 4
    assert scores["pearson"] == pytest.approx(100 * np.corrcoef(gold, found)[0, 1])
    assert task().score(examples(*gold), [-number for number in gold])["spearman"] == pytest.approx(-100)


@pytest.mark.parametrize(
    ("gold", "found"), [((1.0, 1.0), [0.0, 3.0]), ((1.0, 2.0), [3.0, 3.0]), ((1.0,), [2.0]), ((), [])]
)
def test_what_never_changes_correlates_with_nothing(gold: tuple[float, ...], found: list[float]) -> None:
    assert task().score(examples(*gold), found) == {"spearman": 0.0, "pearson": 0.0}


def test_example_scores_are_hundredths_of_the_range() -> None:
    scores = task().example_scores(examples(0.0, 5.0, 2.0), [0.0, 4.5, 9.0])
    assert scores.tolist() == pytest.approx([100, 90, -40])
    assert task().right_from == 90
    assert task().example_scores(examples(2.0, 2.0), [2.0, 2.5]).tolist() == [100, 50]


@pytest.mark.parametrize(
    ("first", "second", "agree"), [(4.0, 4.07, True), (4.0, 4.1, False), (0.0, 0.015, True), (0.0, 0.03, False)]
)
def test_numbers_agree_within_a_small_tolerance(first: float, second: float, agree: bool) -> None:
    assert task().same(first, second) is agree


def test_the_loss_is_the_squared_error_in_float32() -> None:
    loss = task().loss({"logits": torch.tensor([[1.0], [4.0]]).bfloat16()}, {"labels": torch.tensor([2.0, 2.0])})
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx((1 + 4) / 2)


def test_errors(bert_tokenizer: Any) -> None:
    made = task(max_length=16)
    for score in (None, float("nan"), float("inf")):
        with pytest.raises(DataError, match="example 1 has the number .*, and a finite one is needed"):
            made.features(examples(1.0, score), bert_tokenizer, labelled=True)
    with pytest.raises(DataError, match="text-regression needs texts with numbers, not TextExample"):
        made.features([TextExample("a", None, ("yes",))], bert_tokenizer, labelled=False)
    with pytest.raises(DataError, match="text-classification needs texts with labels, not ScoredExample"):
        classes = make_task("text-classification", FeatureSettings(max_length=16), ("yes",))
        classes.features(examples(1.0), bert_tokenizer, labelled=False)
