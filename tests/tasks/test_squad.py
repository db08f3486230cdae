from __future__ import annotations

import pytest

from compressor.tasks import squad


@pytest.mark.parametrize(
    ("text", "normal"),
    [("The  Cat!", "cat"), ("an apple, a day", "apple day"), ("theory of a-then", "theory of athen"), ("", "")],
)
def test_normalization(text: str, normal: str) -> None:
    assert squad.normalize(text) == normal


@pytest.mark.parametrize(
    ("prediction", "answers", "exact", "f1"),
    [
        ("the Cat", ["cat"], 1.0, 1.0),
        ("a red cat", ["blue cat", "red"], 0.0, 2 / 3),
        ("cat cat", ["cat"], 0.0, 2 / 3),  # a word counts as often as it stands in both
        ("", ["cat"], 0.0, 0.0),
        ("the", ["an"], 1.0, 1.0),  # nothing is left of either
        ("cat", [], 0.0, 0.0),
    ],
)
def test_scores(prediction: str, answers: list[str], exact: float, f1: float) -> None:
    assert squad.exact_match(prediction, answers) == exact
    assert squad.f1(prediction, answers) == pytest.approx(f1)
