"""Evaluation: the same outputs one by one and in batches, in the order of the features, without padding."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from transformers import BertConfig, BertForQuestionAnswering, BertForTokenClassification

from compressor.training import predict
from tests.training.conftest import TOKENIZER, VOCABULARY, make_features, make_model


def one_by_one(model: torch.nn.Module, name: str) -> list[np.ndarray]:
    with torch.no_grad():
        return [
            model(**{key: torch.tensor([value]) for key, value in feature.inputs.items()})[name][0].numpy()
            for feature in make_features(11)
        ]


def config(**changes: int) -> BertConfig:
    return BertConfig(vocab_size=VOCABULARY, hidden_size=32, num_hidden_layers=1, num_attention_heads=2, **changes)


@pytest.mark.parametrize(
    ("make", "names"),
    [
        (lambda: make_model(), ["logits"]),
        (lambda: BertForQuestionAnswering(config()), ["start_logits", "end_logits"]),
        (lambda: BertForTokenClassification(config(num_labels=3)), ["logits"]),
    ],
)
def test_batches_give_what_single_rows_give(make: object, names: list[str]) -> None:
    model = make().eval()  # type: ignore[operator]
    results = predict(model, make_features(11), TOKENIZER, 4)
    for name in names:
        for found, expected in zip(results, one_by_one(model, name), strict=True):
            assert found[name].dtype == np.float32
            np.testing.assert_allclose(found[name], expected, atol=1e-5)


def test_the_mode_of_the_model_comes_back() -> None:
    model = make_model().train()
    first, second = (predict(model, make_features(3), TOKENIZER, 2) for _ in range(2))
    assert model.training
    np.testing.assert_array_equal(first[0]["logits"], second[0]["logits"])  # no dropout


def test_no_features() -> None:
    assert predict(make_model(), [], TOKENIZER, 4) == []
