"""Classification of texts and pairs of texts, single- and multi-label."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from compressor.errors import DataError
from compressor.tasks.base import Feature
from compressor.tasks.examples import Example, TextExample
from compressor.tasks.labels import label_indexes
from compressor.tasks.losses import binary_cross_entropy, cross_entropy
from compressor.tasks.texts import TextTask

if TYPE_CHECKING:
    import torch


class TextClassification(TextTask[TextExample]):
    """Gives a text its label, or any number of labels. Predictions are a label name, or a tuple of them."""

    name = "text-classification"
    example_class = TextExample
    needs = "texts with labels"

    @property
    def problem_type(self) -> str:
        """One label of several, or any number of them."""
        return "multi_label_classification" if self.multi_label else "single_label_classification"

    @property
    def metric_names(self) -> tuple[str, ...]:
        """Accuracy first for one label, micro-F1 first for several."""
        return ("micro_f1", "macro_f1") if self.multi_label else ("accuracy", "macro_f1")

    def targets(self, examples: Sequence[TextExample]) -> list[Any]:
        """An int each, or with several labels a list of 0.0 and 1.0 [labels].

        Raises `TaskError` for a label that the model does not have and `DataError` for an example without exactly one
        label.
        """
        indexes = label_indexes(self.labels)
        return [self._label(example, indexes, position) for position, example in enumerate(examples)]

    def _label(self, example: TextExample, indexes: Mapping[str, int], position: int) -> int | list[float]:
        chosen = [indexes[label] for label in example.labels]
        if self.multi_label:
            return [float(index in chosen) for index in range(len(self.labels))]
        if len(chosen) != 1:
            raise DataError(f"example {position} has {len(chosen)} labels {example.labels}, and exactly one is needed.")
        return chosen[0]

    def loss(self, outputs: Mapping[str, torch.Tensor], labels: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Cross-entropy, or with several labels the mean binary cross-entropy."""
        measure = binary_cross_entropy if self.multi_label else cross_entropy
        return measure(outputs["logits"], labels["labels"])

    def decode(
        self, examples: Sequence[Example], features: Sequence[Feature], outputs: Sequence[Mapping[str, np.ndarray]]
    ) -> list[Any]:
        """The most likely label; with several labels all whose probability reaches the threshold."""
        predictions: list[Any] = [() if self.multi_label else ""] * len(examples)
        names = tuple(label_indexes(self.labels))
        for feature, rows in zip(features, outputs, strict=True):
            logits = rows["logits"].astype(np.float64)
            if self.multi_label:
                # 1 / (1 + exp(-x)) >= t, without overflow
                on = np.exp(-np.logaddexp(0.0, -logits)) >= self.settings.threshold
                predictions[feature.example] = tuple(names[index] for index in np.flatnonzero(on))
            else:
                predictions[feature.example] = names[int(logits.argmax())]
        return predictions

    def tuned(
        self, examples: Sequence[Example], features: Sequence[Feature], outputs: Sequence[Mapping[str, np.ndarray]]
    ) -> TextClassification:
        """With several labels the same with the threshold of the best micro-F1: early in training none reaches 0.5."""
        if not self.multi_label:
            return self
        golden = [example.labels for example in self.checked(examples)]
        logits = np.stack([rows["logits"].astype(np.float64) for rows in outputs])
        true = np.array([[name in golden[feature.example] for name in self.labels] for feature in features])
        order = np.argsort(-logits, axis=None, kind="stable")
        hits = np.cumsum(true.ravel()[order])
        f1 = 2 * hits / (np.arange(1, len(order) + 1) + true.sum())
        reached = 1 / (1 + np.exp(-np.clip(logits.ravel()[order], -700, 700)))
        f1[:-1][reached[1:] == reached[:-1]] = -1  # equal ones are on together
        settings = dataclasses.replace(self.settings, threshold=float(reached[int(f1.argmax())]))
        return TextClassification(settings, self.labels, multi_label=True)

    def score(self, examples: Sequence[Example], predictions: Sequence[Any]) -> dict[str, float]:
        """Accuracy and macro-F1, or micro- and macro-F1, in points; macro over labels that occur in either side."""
        from sklearn.metrics import accuracy_score, f1_score

        if not examples:
            return dict.fromkeys(self.metric_names, 0.0)
        golden = [example.labels for example in self.checked(examples)]
        if self.multi_label:
            names = sorted({label for labels in (*golden, *predictions) for label in labels})
            true, found = _indicators(golden, names), _indicators(predictions, names)
            if not names:  # nothing to find, nothing found
                return dict.fromkeys(self.metric_names, 100.0)
            return {
                f"{kind}_f1": 100 * float(f1_score(true, found, average=kind, zero_division=0))
                for kind in ("micro", "macro")
            }
        gold = [labels[0] if labels else "" for labels in golden]
        return {
            "accuracy": 100 * float(accuracy_score(gold, predictions)),
            "macro_f1": 100 * float(f1_score(gold, predictions, average="macro", zero_division=0)),
        }

    def example_scores(self, examples: Sequence[Example], predictions: Sequence[Any]) -> np.ndarray:
        """100 or 0 for one label; the F1 of the example's own label set for several, in points [examples]."""
        golden = [example.labels for example in self.checked(examples)]
        pairs = zip(golden, predictions, strict=True)
        if self.multi_label:
            return np.array([100 * _set_f1(set(true), set(found)) for true, found in pairs], dtype=np.float64)
        return np.array([100.0 * ((found,) == true) for true, found in pairs], dtype=np.float64)


def _indicators(label_sets: Sequence[Sequence[str]], names: Sequence[str]) -> np.ndarray:
    return np.array([[name in labels for name in names] for labels in label_sets], dtype=np.int8)


def _set_f1(true: set[str], found: set[str]) -> float:
    return 2 * len(true & found) / (len(true) + len(found)) if true or found else 1.0
