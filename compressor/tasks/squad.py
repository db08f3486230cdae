"""The metric of SQuAD v1.1 (Rajpurkar et al. 2016): exact match and F1 of answer texts."""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Sequence

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)


def normalize(text: str) -> str:
    """Lower-case, without punctuation, articles and surplus white space."""
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def exact_match(prediction: str, answers: Sequence[str]) -> float:
    """1.0 if the prediction equals any answer after normalization, else 0.0."""
    wanted = normalize(prediction)
    return float(any(normalize(answer) == wanted for answer in answers))


def f1(prediction: str, answers: Sequence[str]) -> float:
    """The best word-overlap F1 (0 ... 1) of the prediction over all answers."""
    return max((_overlap(normalize(prediction).split(), normalize(answer).split()) for answer in answers), default=0.0)


def _overlap(prediction: list[str], answer: list[str]) -> float:
    shared = sum((Counter(prediction) & Counter(answer)).values())
    if shared == 0:
        return float(not prediction and not answer)
    return 2.0 * shared / (len(prediction) + len(answer))
