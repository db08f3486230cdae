"""Regression: one number for a text or for a pair of texts, such as how alike two sentences are (STS-B)."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from compressor.errors import DataError
from compressor.tasks.base import Feature
from compressor.tasks.examples import Example, ScoredExample
from compressor.tasks.losses import squared_error
from compressor.tasks.texts import TextTask

if TYPE_CHECKING:
    import torch

SAME = 0.02
"""Two numbers agree if they differ by at most this, or by at most this fraction of the larger one."""


class TextRegression(TextTask[ScoredExample]):
    """Gives a text, or a pair of texts, a number: the model's only logit as it is. Predictions are floats."""

    name = "text-regression"
    problem_type = "regression"
    right_from = 90.0  # within a tenth of the range of the data's numbers
    example_class = ScoredExample
    needs = "texts with numbers"

    @property
    def metric_names(self) -> tuple[str, ...]:
        """The rank correlation first."""
        return ("spearman", "pearson")

    def targets(self, examples: Sequence[ScoredExample]) -> list[Any]:
        """A float each; raises `DataError` for an example without a finite number."""
        return [_number(example, position) for position, example in enumerate(examples)]

    def loss(self, outputs: Mapping[str, torch.Tensor], labels: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Mean squared error, in the label's unit squared."""
        return squared_error(outputs["logits"], labels["labels"])

    def decode(
        self, examples: Sequence[Example], features: Sequence[Feature], outputs: Sequence[Mapping[str, np.ndarray]]
    ) -> list[Any]:
        """The logit itself, in the label's unit."""
        predictions = [0.0] * len(examples)
        for feature, rows in zip(features, outputs, strict=True):
            predictions[feature.example] = float(rows["logits"].reshape(-1)[0])
        return predictions

    def score(self, examples: Sequence[Example], predictions: Sequence[Any]) -> dict[str, float]:
        """Spearman's and Pearson's correlation in points, -100 ... 100; 0 where either side never changes."""
        from scipy.stats import pearsonr, spearmanr

        gold, found = self._numbers(examples), np.asarray(predictions, dtype=np.float64)
        return {"spearman": _points(spearmanr, gold, found), "pearson": _points(pearsonr, gold, found)}

    def example_scores(self, examples: Sequence[Example], predictions: Sequence[Any]) -> np.ndarray:
        """100 points less the absolute error in hundredths of the range of the examples' numbers, [examples].

        A correlation is no mean over examples, so this stands in for it in paired bootstraps: a mean difference of
        -1 says that numbers are off by one hundredth of the range more. It is below 0 for an error above the range.
        """
        gold, found = self._numbers(examples), np.asarray(predictions, dtype=np.float64)
        span = float(np.ptp(gold)) if len(gold) else 0.0
        errors: np.ndarray = np.abs(found - gold) / (span or 1.0)
        return 100 - 100 * errors

    def same(self, first: Any, second: Any) -> bool:
        """Whether two numbers agree within 0.02, or within 2 % of the larger one."""
        return math.isclose(first, second, rel_tol=SAME, abs_tol=SAME)

    def _numbers(self, examples: Sequence[Example]) -> np.ndarray:
        return np.array(self.targets(self.checked(examples)), dtype=np.float64)


def _number(example: ScoredExample, position: int) -> float:
    if example.score is None or not math.isfinite(example.score):
        raise DataError(f"example {position} has the number {example.score}, and a finite one is needed.")
    return example.score


def _points(correlation: Callable[..., Any], gold: np.ndarray, found: np.ndarray) -> float:
    """A correlation times 100; 0.0 where it is not defined."""
    if len(gold) < 2 or np.ptp(gold) == 0 or np.ptp(found) == 0:
        return 0.0
    value = float(correlation(gold, found).statistic)
    return 100 * value if math.isfinite(value) else 0.0
