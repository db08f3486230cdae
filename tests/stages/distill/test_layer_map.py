"""Layer maps: the papers' own, and properties of all."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compressor.errors import RequestError
from compressor.stages.distill.layer_map import layer_pairs


def test_tinybert_takes_every_second_layer() -> None:
    assert layer_pairs("uniform", 6, 12) == [(1, 2), (2, 4), (3, 6), (4, 8), (5, 10), (6, 12)]


def test_last_takes_the_top() -> None:
    assert layer_pairs("last", 3, 12) == [(1, 10), (2, 11), (3, 12)]


def test_auto_lets_a_deeper_student_learn_with_its_top() -> None:
    assert layer_pairs("auto", 4, 2) == [(3, 1), (4, 2)]


def test_a_list_is_taken_as_it_is() -> None:
    assert layer_pairs([4, 4], 2, 4) == [(1, 4), (2, 4)]


@given(st.integers(1, 24), st.integers(1, 24))
def test_uniform_rises_strictly_and_ends_at_the_top(student: int, teacher: int) -> None:
    if student > teacher:
        with pytest.raises(RequestError, match="uniform needs a teacher at least as deep as the student"):
            layer_pairs("uniform", student, teacher)
        return
    pairs = layer_pairs("uniform", student, teacher)
    partners = [other for _, other in pairs]
    assert [own for own, _ in pairs] == list(range(1, student + 1))
    assert partners == sorted(set(partners)) and partners[-1] == teacher and partners[0] >= 1
    assert layer_pairs("auto", student, teacher) == pairs
