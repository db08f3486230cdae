"""Labels for words: named entities and the like."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, Any

import numpy as np

from compressor.errors import DataError
from compressor.tasks import entities
from compressor.tasks.base import Feature, Task
from compressor.tasks.examples import Example, TokenExample
from compressor.tasks.labels import label_indexes
from compressor.tasks.losses import IGNORED, cross_entropy
from compressor.tasks.tokenize import CHUNK, check_length, model_inputs, require_fast

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerBase

OUTSIDE = "O"


class TokenClassification(Task):
    """Gives every word a tag. Predictions are tuples of tags, one a word."""

    name = "token-classification"
    auto_class = "AutoModelForTokenClassification"
    output_names = ("logits",)
    label_names = ("labels",)
    restores_tokens = True

    @property
    def metric_names(self) -> tuple[str, ...]:
        """Entity-level F1 first."""
        return ("f1", "precision", "recall")

    @property
    def max_length(self) -> int:
        """Longest input in tokens; 128 unless set. Words beyond it are tagged O."""
        return self.settings.longest(self.name)

    def features(
        self, examples: Sequence[Example], tokenizer: PreTrainedTokenizerBase, *, labelled: bool
    ) -> list[Feature]:
        """One row a sentence; a word's first piece carries its label, all other pieces are ignored.

        The words are joined by blanks, as a user's text will be. `extra["first_pieces"]` is int32 [pieces, 2]: the
        place of each first piece and its word. Raises `TaskError` for a tag that the model does not have.
        """
        require_fast(tokenizer)
        check_length(self.max_length, tokenizer)
        sentences = [as_sentence(example) for example in examples]
        indexes = label_indexes(self.labels) if labelled else {}
        features: list[Feature] = []
        for first in range(0, len(sentences), CHUNK):
            chunk = sentences[first : first + CHUNK]
            encoded = tokenizer(
                [" ".join(example.words) for example in chunk],
                truncation=True,
                max_length=self.max_length,
                return_offsets_mapping=True,
            )
            for row, example in enumerate(chunk):
                inputs = model_inputs(encoded, row, tokenizer)
                pieces = first_pieces(example.words, encoded["offset_mapping"][row])
                labels: dict[str, Any] = {}
                if labelled:
                    labels["labels"] = _labels(example, pieces, indexes, len(inputs["input_ids"]), first + row)
                features.append(Feature(inputs, labels, first + row, {"first_pieces": pieces}))
        return features

    def loss(self, outputs: Mapping[str, torch.Tensor], labels: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Mean cross-entropy over first pieces."""
        return cross_entropy(outputs["logits"], labels["labels"])

    def decode(
        self, examples: Sequence[Example], features: Sequence[Feature], outputs: Sequence[Mapping[str, np.ndarray]]
    ) -> list[tuple[str, ...]]:
        """The most likely tag of each word's first piece; O for words that were cut off."""
        names = tuple(label_indexes(self.labels))
        tags = [[OUTSIDE] * len(as_sentence(example).words) for example in examples]
        for feature, rows in zip(features, outputs, strict=True):
            best = rows["logits"].argmax(axis=-1)
            for place, word in feature.extra["first_pieces"].tolist():
                tags[feature.example][word] = names[int(best[place])]
        return [tuple(row) for row in tags]

    def score(self, examples: Sequence[Example], predictions: Sequence[Any]) -> dict[str, float]:
        """Entity-level F1, precision and recall in points: type and both borders must be right (CoNLL)."""
        golden = [as_sentence(example).tags for example in examples]
        right, predicted, true = entities.counts(zip(golden, predictions, strict=True))
        return {
            "f1": 100 * entities.f1(right, predicted, true),
            "precision": 100 * right / predicted if predicted else 0.0,
            "recall": 100 * right / true if true else 0.0,
        }

    def example_scores(self, examples: Sequence[Example], predictions: Sequence[Any]) -> np.ndarray:
        """The sentence's own entity F1 in points [examples]; 100 where there is nothing to find and nothing found."""
        golden = [as_sentence(example).tags for example in examples]
        pairs = zip(golden, predictions, strict=True)
        return np.array([100 * entities.f1(*entities.counts([pair])) for pair in pairs], dtype=np.float64)


def as_sentence(example: Example) -> TokenExample:
    """The example itself, if it is a tagged sentence; raises `DataError` otherwise."""
    if not isinstance(example, TokenExample):
        raise DataError(f"token-classification needs words with tags, not {type(example).__name__}.")
    return example


def first_pieces(words: Sequence[str], offsets: Sequence[tuple[int, int]]) -> np.ndarray:
    """Place and word of each word's first piece, int32 [pieces, 2], from the pieces' offsets in the joined words.

    A word that the tokenizer gives no piece (a control character, say) and one that was cut off do not appear.
    """
    ends = list(accumulate(len(word) + 1 for word in words))  # first character after a word and its blank
    spans = np.asarray(offsets, dtype=np.int32).reshape(-1, 2)
    owners = np.searchsorted(np.asarray(ends, dtype=np.int32), spans[:, 1] - 1, side="right")
    real = np.flatnonzero(spans[:, 1] > spans[:, 0])  # special tokens have empty offsets
    _, begins = np.unique(owners[real], return_index=True)
    places = real[begins]
    return np.stack([places, owners[places]], axis=1).astype(np.int32)


def _labels(
    example: TokenExample, pieces: np.ndarray, indexes: Mapping[str, int], length: int, position: int
) -> list[int]:
    if len(example.tags) != len(example.words):
        raise DataError(f"example {position} has {len(example.words)} words but {len(example.tags)} tags.")
    labels = [IGNORED] * length
    for place, word in pieces.tolist():
        labels[place] = indexes[example.tags[word]]
    return labels
