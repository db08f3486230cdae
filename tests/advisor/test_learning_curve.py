"""What a short training says of a whole one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compressor.advisor.learning_curve import STEEPEST, chance


def test_what_is_there_already_is_certain_and_what_is_out_of_reach_has_no_chance() -> None:
    assert chance(80.0, 0.25, wanted=80.0, ceiling=90.0) == 1
    assert chance(50.0, 0.25, wanted=90.0, ceiling=90.0) == 0
    assert chance(50.0, 1.0, wanted=51.0, ceiling=90.0) == 0
    assert chance(95.0, 0.25, wanted=99.0, ceiling=90.0) == 0


def test_the_share_of_curves_that_are_steep_enough() -> None:
    share, exponent = 0.25, 0.5
    missing = 20.0 * share**exponent  # what a curve of this exponent leaves of 20 points
    assert chance(70.0, share, wanted=90.0 - missing, ceiling=90.0) == pytest.approx(1 - exponent / STEEPEST)


@given(st.floats(0, 100), st.floats(0, 100), st.sampled_from([1 / 16, 1 / 4]), st.floats(0, 100), st.floats(1, 100))
def test_more_points_and_longer_training_are_worth_more(
    low: float, high: float, share: float, wanted: float, ceiling: float
) -> None:
    low, high = sorted((low, high))
    first, second = chance(low, share, wanted, ceiling), chance(high, share, wanted, ceiling)
    assert 0 <= first <= second <= 1
    assert chance(low, share, wanted, ceiling) >= chance(low, min(1.0, 2 * share), wanted, ceiling)
