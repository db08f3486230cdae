"""Fractions to token counts and back."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from compressor.errors import DialError
from compressor.models.dial import keep_from_counts, token_counts, validate_keep


@given(st.integers(1, 512), st.data())
def test_every_integer_length_comes_back_exactly(n: int, data: st.DataObject) -> None:
    counts = sorted(data.draw(st.lists(st.integers(1, n), min_size=1, max_size=12)), reverse=True)
    assert token_counts(n, keep_from_counts(counts, n), minimum=1) == counts


def test_all_lengths_up_to_512_come_back_exactly() -> None:
    for n in range(1, 513):
        counts = list(range(n, 0, -1))
        assert token_counts(n, keep_from_counts(counts, n), minimum=1) == counts


@given(st.integers(1, 512), st.lists(st.floats(0.001, 1.0), min_size=1, max_size=6), st.integers(1, 5))
def test_the_same_as_the_formula_in_float32_tensors(n: int, keep: list[float], minimum: int) -> None:
    expected, before = [], n
    for fraction in torch.tensor(keep):
        wanted = torch.floor(fraction * torch.tensor(float(n)) + 0.5)
        before = min(max(int(wanted), minimum), before)
        expected.append(before)
    assert token_counts(n, keep, minimum) == expected


def test_minimum_may_exceed_the_real_tokens_where_padding_is_there() -> None:
    assert token_counts(1, [1.0, 0.5], 2) == [1, 1]
    assert token_counts(1, [1.0, 0.5], 2, padded=4) == [2, 2]
    assert token_counts(0, [1.0], 2, padded=4) == [2]


@pytest.mark.parametrize(
    ("keep", "message"),
    [
        ([1.0, 0.5], "keep has 2 entries, the model has 3 layers"),
        ([0.5, 0.6, 0.1], "keep grows from 0.5 to 0.6 at layer 2"),
        ([1.1, 1.0, 1.0], r"keep\[0\] = 1.1 is outside"),
        ([1.0, 1.0, 0.0], r"keep\[2\] = 0.0 is outside"),
        ([1.0, float("nan"), 0.5], r"keep\[1\] = nan is outside"),
    ],
)
def test_impossible_configurations_are_refused(keep: list[float], message: str) -> None:
    with pytest.raises(DialError, match=message):
        validate_keep(keep, 3)


def test_a_possible_configuration_is_not_refused() -> None:
    validate_keep([1.0, 0.5, 0.5], 3)


@pytest.mark.parametrize("counts", [[5], [3, 4], [3, 0]])
def test_impossible_counts_are_refused(counts: list[int]) -> None:
    with pytest.raises(DialError, match="must fall from at most 4 to at least 1"):
        keep_from_counts(counts, 4)
