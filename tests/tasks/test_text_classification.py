from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from compressor.config.run import FeatureSettings
from compressor.errors import DataError, TaskError
from compressor.tasks import make_task
from compressor.tasks.examples import TextExample, TokenExample

LABELS = ("no", "yes", "maybe")


def task(*, multi_label: bool = False, labels: tuple[str, ...] = LABELS, **settings: Any) -> Any:
    return make_task("text-classification", FeatureSettings(**settings), labels, multi_label=multi_label)


def rows(*logits: list[float]) -> list[dict[str, np.ndarray]]:
    return [{"logits": np.array(row, np.float32)} for row in logits]


def test_features_of_texts_and_pairs(bert_tokenizer: Any, roberta_tokenizer: Any) -> None:
    made = task(max_length=16)
    single, pair = TextExample("the cat", None, ("yes",)), TextExample("the cat " * 20, "on a mat " * 20, ("maybe",))
    features = made.features([single], bert_tokenizer, labelled=True)
    assert features[0].length == 4 and features[0].labels == {"labels": 1}
    (feature,) = made.features([pair], bert_tokenizer, labelled=False)
    assert feature.length == 16 and not feature.labels
    assert 4 <= sum(feature.inputs["token_type_ids"]) <= 8  # both texts are still there
    assert list(made.features([single], roberta_tokenizer, labelled=False)[0].inputs) == ["input_ids", "attention_mask"]


def test_labels_are_in_the_order_of_the_model(bert_tokenizer: Any) -> None:
    example = TextExample("a", None, ("yes", "no"))
    made = task(multi_label=True, labels=("yes", "maybe", "no"), max_length=16)
    assert made.features([example], bert_tokenizer, labelled=True)[0].labels == {"labels": [1.0, 0.0, 1.0]}


def test_decode_single_and_several_labels(bert_tokenizer: Any) -> None:
    examples = [TextExample("a", None, ("no",)), TextExample("the", None, ("yes",))]
    single = task(max_length=16)
    features = single.features(examples, bert_tokenizer, labelled=False)
    assert single.decode(examples, features, rows([0, 2, 1], [3, 2, 1])) == ["yes", "no"]
    several = task(multi_label=True, max_length=16, threshold=0.5)
    assert several.decode(examples, features, rows([0.0, -0.1, 900], [-900, -1, -2])) == [("no", "maybe"), ()]
    strict = task(multi_label=True, max_length=16, threshold=0.9)
    assert strict.decode(examples, features, rows([2.3, 2.1, 0], [0, 0, 0])) == [("no",), ()]


def test_single_label_metrics() -> None:
    examples = [TextExample("", None, (label,)) for label in ("no", "no", "no", "yes")]
    scores = task().score(examples, ["no", "no", "yes", "yes"])
    assert task().metric_names == ("accuracy", "macro_f1")
    assert scores["accuracy"] == 75.0
    assert scores["macro_f1"] == pytest.approx(100 * (4 / 5 + 2 / 3) / 2)
    assert task().example_scores(examples, ["no", "yes", "no", "yes"]).tolist() == [100, 0, 100, 100]
    assert task().score([], []) == {"accuracy": 0.0, "macro_f1": 0.0}


def test_multi_label_metrics_against_counting() -> None:
    made = task(multi_label=True)
    golden: list[tuple[str, ...]] = [("no", "yes"), ("maybe",), (), ("yes",)]
    found: list[tuple[str, ...]] = [("no",), ("maybe", "yes"), (), ()]
    examples = [TextExample("", None, labels) for labels in golden]
    scores = made.score(examples, found)
    right = sum(len(set(a) & set(b)) for a, b in zip(golden, found, strict=True))
    assert made.metric_names == ("micro_f1", "macro_f1")
    assert scores["micro_f1"] == pytest.approx(100 * 2 * right / (sum(map(len, golden)) + sum(map(len, found))))
    assert scores["macro_f1"] == pytest.approx(100 * (1 + 0 + 1) / 3)
    assert made.example_scores(examples, found).tolist() == pytest.approx([200 / 3, 200 / 3, 100, 0])
    assert made.score([TextExample("")], [()]) == {"micro_f1": 100.0, "macro_f1": 100.0}


def test_losses_in_float32() -> None:
    logits = torch.tensor([[1.0, 2.0, 3.0], [0.0, 0.0, 1.0]])
    single = task().loss({"logits": logits.bfloat16()}, {"labels": torch.tensor([2, -100])})
    assert single.dtype == torch.float32
    assert torch.allclose(single, -torch.log_softmax(logits, -1)[0, 2])
    targets = torch.tensor([[1.0, 0.0, 1.0], [0.0, 0.0, 1.0]])
    several = task(multi_label=True).loss({"logits": logits}, {"labels": targets})
    expected = -(targets * logits.sigmoid().log() + (1 - targets) * (1 - logits.sigmoid()).log()).mean()
    assert torch.allclose(several, expected)


def test_errors(bert_tokenizer: Any) -> None:
    made = task(max_length=16)
    with pytest.raises(TaskError, match=r"label 'perhaps', which the model does not know: it has no, yes, maybe"):
        made.features([TextExample("a", None, ("perhaps",))], bert_tokenizer, labelled=True)
    with pytest.raises(DataError, match="example 0 has 2 labels"):
        made.features([TextExample("a", None, ("no", "yes"))], bert_tokenizer, labelled=True)
    with pytest.raises(TaskError, match="needs label names"):
        task(labels=(), max_length=16).features([TextExample("a")], bert_tokenizer, labelled=True)
    with pytest.raises(DataError, match="needs texts with labels, not TokenExample"):
        made.features([TokenExample(("a",))], bert_tokenizer, labelled=False)


def test_the_threshold_that_suits_answers_best_is_found(bert_tokenizer: Any) -> None:
    examples = [TextExample("a", None, ("yes",)), TextExample("the", None, ("no", "maybe")), TextExample("a", None, ())]
    several = task(multi_label=True, max_length=16)
    features = several.features(examples, bert_tokenizer, labelled=False)
    outputs = rows([-9, -3, -8], [-2, -6, -3.5], [-7, -5, -9])  # none reaches 0.5; above -4 all and only what is true
    assert several.score(examples, several.decode(examples, features, outputs))["micro_f1"] == 0
    tuned = several.tuned(examples, features, outputs)
    assert tuned.score(examples, tuned.decode(examples, features, outputs))["micro_f1"] == 100
    assert several.settings.threshold == 0.5
    tied = rows([-900, -3, -900], [-3, -900, -900], [-3, -3, -900])  # two of four equal ones are true
    assert several.tuned(examples, features, tied).settings.threshold == pytest.approx(1 / (1 + np.exp(3)))
    assert several.tuned(examples, features, rows(*[[-900] * 3] * 3)).settings.threshold > 0
    single = task(max_length=16)
    assert single.tuned(examples, features, outputs) is single
