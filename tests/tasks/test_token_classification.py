from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from compressor.config.run import FeatureSettings
from compressor.errors import DataError, TaskError
from compressor.tasks import make_task
from compressor.tasks.examples import TextExample, TokenExample

LABELS = ("B-PER", "O", "I-PER", "B-LOC")
EXAMPLE = TokenExample(("Maria", "Holmberg", "lives", "in", "Oslo", "."), ("B-PER", "I-PER", "O", "O", "B-LOC", "O"))


def task(**settings: Any) -> Any:
    return make_task("token-classification", FeatureSettings(**settings), LABELS)


def outputs_for(features: list[Any]) -> list[dict[str, np.ndarray]]:
    """Logits whose best class at labelled places is the label, and class 0 elsewhere."""
    rows = []
    for feature in features:
        logits = np.zeros((feature.length, len(LABELS)), np.float32)
        for place, label in enumerate(feature.labels["labels"]):
            logits[place, max(label, 0)] = 1.0
        rows.append({"logits": logits})
    return rows


@pytest.mark.parametrize("kind", ["bert_tokenizer", "roberta_tokenizer"])
def test_first_pieces_carry_the_labels_and_decode_gives_them_back(kind: str, request: pytest.FixtureRequest) -> None:
    made = task(max_length=64)
    features = made.features([EXAMPLE], request.getfixturevalue(kind), labelled=True)
    labels = features[0].labels["labels"]
    assert len(labels) == features[0].length
    assert [label for label in labels if label != -100] == [0, 2, 1, 1, 3, 1]
    predictions = made.decode([EXAMPLE], features, outputs_for(features))
    assert predictions == [EXAMPLE.tags]
    assert made.score([EXAMPLE], predictions) == {"f1": 100.0, "precision": 100.0, "recall": 100.0}


def test_word_pieces_in_detail(bert_tokenizer: Any) -> None:
    (feature,) = task(max_length=64).features([EXAMPLE], bert_tokenizer, labelled=True)
    pieces = bert_tokenizer.convert_ids_to_tokens(feature.inputs["input_ids"])
    assert pieces[1:5] == ["maria", "holm", "##berg", "lives"]
    assert feature.labels["labels"][:5] == [-100, 0, 2, -100, 1]


def test_words_that_are_cut_off_or_have_no_piece_are_outside(bert_tokenizer: Any) -> None:
    long = TokenExample(("the",) * 5 + ("Oslo",) * 30, ("O",) * 5 + ("B-LOC",) * 30)
    made = task(max_length=16)
    features = made.features([long], bert_tokenizer, labelled=True)
    assert features[0].length == 16
    assert made.decode([long], features, outputs_for(features)) == [("O",) * 5 + ("B-LOC",) * 9 + ("O",) * 21]
    odd = TokenExample(("\u200b", "Oslo"), ("B-PER", "B-LOC"))
    features = made.features([odd], bert_tokenizer, labelled=True)
    assert made.decode([odd], features, outputs_for(features)) == [("O", "B-LOC")]


def test_loss_ignores_what_is_not_a_first_piece() -> None:
    logits = torch.randn(1, 4, len(LABELS))
    loss = task().loss({"logits": logits}, {"labels": torch.tensor([[-100, 1, -100, 3]])})
    expected = -torch.log_softmax(logits, -1)[0, [1, 3], [1, 3]].mean()
    assert torch.allclose(loss, expected)


def test_scores_an_example() -> None:
    nothing = TokenExample(("a",), ("O",))
    scores = task().example_scores(
        [EXAMPLE, nothing, nothing], [("B-PER", "O", "O", "O", "B-LOC", "O"), ("O",), ("B-PER",)]
    )
    assert scores.tolist() == [50.0, 100.0, 0.0]
    assert task().metric_names == ("f1", "precision", "recall")


def test_errors(bert_tokenizer: Any) -> None:
    made = task(max_length=16)
    with pytest.raises(TaskError, match="label 'B-ORG', which the model does not know"):
        made.features([TokenExample(("a",), ("B-ORG",))], bert_tokenizer, labelled=True)
    with pytest.raises(DataError, match="example 0 has 2 words but 1 tags"):
        made.features([TokenExample(("a", "the"), ("O",))], bert_tokenizer, labelled=True)
    with pytest.raises(DataError, match="needs words with tags, not TextExample"):
        made.features([TextExample("a")], bert_tokenizer, labelled=False)
