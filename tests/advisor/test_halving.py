"""Successive halving and the search along a front, on problems whose answer is known."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compressor.advisor.halving import (
    Point,
    Round,
    cheapest_that_holds,
    first_that_holds,
    front,
    schedule,
    spread,
    survivors,
)


def point(name: str, metric: float, price: float = 1.0) -> Point:
    return Point(name, name, metric, price)


def test_every_round_has_more_budget_for_fewer() -> None:
    assert schedule(16, 4, 3) == [Round(1 / 16, 16), Round(1 / 4, 4), Round(1.0, 2)]
    assert schedule(40, 4, 3) == [Round(1 / 16, 40), Round(1 / 4, 10), Round(1.0, 3)]
    assert schedule(16, 4, 3, goal="latency")[-1] == Round(1.0, 4)
    assert schedule(1, 4, 3) == [Round(1.0, 1)]
    assert schedule(7, 4, 1) == [Round(1.0, 7)]


def test_short_rounds_leave_the_budget_of_one_full_training() -> None:
    assert schedule(7, 4, 3, afford=1.94) == [Round(1 / 16, 7), Round(1 / 4, 2), Round(1.0, 2)]
    assert schedule(7, 4, 3, afford=1.75) == [Round(1 / 16, 7), Round(1.0, 2)]
    assert schedule(7, 4, 3, goal="latency", afford=1.75) == [Round(1 / 16, 7), Round(1.0, 7)]
    assert schedule(7, 4, 3, afford=0.1) == [Round(1 / 16, 7), Round(1.0, 2)]


def test_it_finds_the_best_of_a_noisy_problem_at_a_fraction_of_the_cost() -> None:
    noise = random.Random(3)
    final = {f"s{index}": 60 + 2.0 * index for index in range(16)}
    order, names, spent = sorted(final), list(final), 0.0
    rounds = schedule(16, 4, 3)
    for now, after in zip(rounds, rounds[1:], strict=False):
        spent += now.share * len(names)
        reached = [point(name, final[name] * now.share**0.1 + noise.gauss(0, 1.0)) for name in names]
        names = survivors(reached, after.shapes, "metric", order)
    spent += len(names)

    assert final[names[0]] >= max(final.values()) - 2.0
    assert spent / len(final) == pytest.approx(4 / 16)


def test_ties_go_to_what_was_more_promising_before() -> None:
    alike = [point(name, 0.0, price) for name, price in (("c", 1.0), ("a", 3.0), ("b", 2.0))]

    assert survivors(alike, 2, "metric", ["a", "b", "c"]) == ["a", "b"]
    assert survivors(alike, 2, "latency", ["a", "b", "c"]) == ["c", "a"]  # the front is the cheapest, then the promise


def test_a_shape_counts_by_its_best_candidate_and_failures_are_not_there() -> None:
    points = [Point("s1-fp32", "s1", 70.0, 2.0), Point("s1-int8", "s1", 60.0, 1.0), Point("s2-int8", "s2", 65.0, 1.5)]

    assert survivors(points, 1, "metric", ["failed", "s2", "s1"]) == ["s1"]
    assert survivors([], 3, "metric", ["failed"]) == []


def test_for_latency_the_front_goes_on_spread_over_its_prices() -> None:
    points = [point(f"p{index}", 10.0 * index, float(index)) for index in range(9)]
    dominated = point("bad", 5.0, 8.0)

    assert survivors([*points, dominated], 3, "latency", [p.name for p in points] + ["bad"]) == ["p0", "p4", "p8"]


def test_the_front_has_what_nothing_beats_in_both() -> None:
    points = [point("slow", 80, 9), point("fast", 70, 1), point("beaten", 69, 2), point("same", 70, 1)]

    assert [one.name for one in front(points)] == ["fast", "slow"]


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=12))
def test_a_front_is_never_beaten_and_beats_all_others(drawn: list[tuple[int, int]]) -> None:
    points = [point(str(index), metric, price) for index, (metric, price) in enumerate(drawn)]
    best = front(points)

    assert [one.price for one in best] == sorted(one.price for one in best)
    assert all(not other.dominates(one) for one in best for other in points)
    assert all(any(one.dominates(other) or (one.metric, one.price) == (other.metric, other.price) for one in best)
               for other in points)  # fmt: skip


@given(st.integers(1, 9), st.integers(0, 9))
def test_the_cheapest_that_holds_is_found_in_few_calls(count: int, first_good: int) -> None:
    points = [point(str(index), 10.0 * index, float(index)) for index in range(count)]
    asked: list[str] = []

    def holds(one: Point) -> bool:
        asked.append(one.name)
        return int(one.name) >= first_good

    found = cheapest_that_holds(points, holds, limit=count)

    assert len(asked) == len(set(asked)) <= math.floor(math.log2(count)) + 1
    assert (found[-1].name == str(first_good)) if first_good < count else found == []


def test_with_few_calls_left_the_best_point_is_asked() -> None:
    points = [point(str(index), 10.0 * index, float(index)) for index in range(9)]

    found = cheapest_that_holds(points, lambda one: int(one.name) >= 7, limit=2)

    assert [one.name for one in found] == ["8"]


def test_the_best_metric_is_asked_first_and_of_equals_the_cheapest() -> None:
    points = [point("a", 80, 3), point("b", 80, 2), point("c", 90, 9)]
    asked: list[str] = []

    def holds(one: Point) -> bool:
        asked.append(one.name)
        return one.name == "b"

    assert [one.name for one in first_that_holds(points, holds, limit=3)] == ["b"]
    assert asked == ["c", "b"]
    assert first_that_holds(points, lambda one: one.name == "a", limit=2) == []


def test_what_is_as_good_within_the_tolerance_is_asked_by_its_price() -> None:
    points = [point("best", 80.0, 9), point("as good", 79.8, 3), point("worse", 79.0, 1)]

    def first(tolerance: float) -> str:
        return first_that_holds(points, lambda one: True, limit=1, tolerance=tolerance)[0].name

    assert (first(0.0), first(0.3), first(1.0)) == ("best", "as good", "worse")


def test_spread_has_both_ends() -> None:
    assert spread(list("abcde"), 3) == ["a", "c", "e"]
    assert spread(list("abcde"), 1) == ["e"]
    assert spread(list("ab"), 5) == ["a", "b"]
    assert spread(list("ab"), 0) == []
