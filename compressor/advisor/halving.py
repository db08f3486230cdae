"""Successive halving (Jamieson & Talwalkar 2016) over shapes, and the search along a Pareto front. Pure.

A shape is trained once and deployed as several candidates, each a point of metric and price. With `metric` those
shapes go on that have the best candidates; with `latency` those on the Pareto front, spread over it, since which price
reaches the wanted metric is not known before the training is whole, and then the best of the others.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

Goal = Literal["metric", "latency"]


@dataclass(frozen=True)
class Round:
    """One round: the share of the full training budget, and how many shapes take part."""

    share: float
    shapes: int


@dataclass(frozen=True)
class Point:
    """A candidate that was judged: higher metrics and lower prices are better."""

    name: str
    shape: str
    metric: float
    price: float

    def dominates(self, other: Point) -> bool:
        """Whether it is at least as good in both and better in one."""
        at_least = self.metric >= other.metric and self.price <= other.price
        return at_least and (self.metric > other.metric or self.price < other.price)


def schedule(shapes: int, eta: int, rounds: int, *, goal: Goal = "metric", afford: float = math.inf) -> list[Round]:
    """The rounds for so many shapes: each has `eta` times the budget of the one before, for one shape in `eta`.

    No round has fewer than two, so that one lucky start decides nothing. Where the short rounds and one full training
    are more than the `afford` full trainings that there are, the longest of the short ones are left out, but for the
    first. With `latency` the last round begins with all that the one before had, as few of them are then really
    trained. One shape, or none, is trained in full at once.
    """
    if shapes <= 1:
        return [Round(1.0, shapes)]
    found = [Round(eta ** (index + 1 - rounds), max(2, math.ceil(shapes / eta**index))) for index in range(rounds)]
    while len(found) > 2 and sum(one.share * one.shapes for one in found[:-1]) + 1 > afford:
        del found[-2]
    if goal == "latency" and rounds > 1:
        found[-1] = Round(1.0, found[-2].shapes)
    return found


def front(points: Sequence[Point]) -> list[Point]:
    """The Pareto front, the cheapest first; of equal points the first."""
    found: dict[tuple[float, float], Point] = {}
    for point in points:
        if not any(other.dominates(point) for other in points):
            found.setdefault((point.price, point.metric), point)
    return [found[key] for key in sorted(found)]


def survivors(points: Sequence[Point], count: int, goal: Goal, order: Sequence[str]) -> list[str]:
    """The shapes that go on, at most `count`, the best first.

    `order` has all shapes, the most promising one first by what was known before: it decides ties.
    """
    rank = {shape: place for place, shape in enumerate(order)}
    best: dict[str, float] = {}
    for point in points:
        best[point.shape] = max(point.metric, best.get(point.shape, -math.inf))
    by_metric = sorted(best, key=lambda shape: (-best[shape], rank[shape]))
    if goal == "metric":
        return by_metric[:count]
    chosen = spread(list(dict.fromkeys(point.shape for point in front(points))), count)
    return chosen + [shape for shape in by_metric if shape not in chosen][: count - len(chosen)]


def spread(listed: Sequence[str], count: int) -> list[str]:
    """At most `count` of a list, evenly over it with both ends; of one the last."""
    if count >= len(listed):
        return list(listed)
    if count <= 1:
        return list(listed[-1:]) if count == 1 else []
    return [listed[round(place * (len(listed) - 1) / (count - 1))] for place in range(count)]


def cheapest_that_holds(points: Sequence[Point], holds: Callable[[Point], bool], *, limit: int) -> list[Point]:
    """Search a front, the cheapest first, for the cheapest point that `holds`; what did, the best answer last.

    Halves the front at each call of `holds`, of which there are at most `limit`: where one holds, only cheaper ones are
    asked next, otherwise only better ones. The best point is asked last if none held, so that there is an answer.
    """
    held: list[Point] = []
    low, high, asked = 0, len(points) - 1, 0
    while low <= high and asked < limit:
        only_one_left = not held and asked == limit - 1
        middle = high if only_one_left else (low + high) // 2
        asked += 1
        if holds(points[middle]):
            held.append(points[middle])
            high = middle - 1
        else:
            low = middle + 1
    return held


def first_that_holds(
    points: Sequence[Point], holds: Callable[[Point], bool], *, limit: int, tolerance: float = 0.0
) -> list[Point]:
    """Ask the points in order of their metric until one holds, at most `limit` of them.

    Those that are at most `tolerance` below the best are as good as it is: of these the cheapest is asked first.
    """
    best = max((point.metric for point in points), default=0.0)

    def order(point: Point) -> tuple[float, float]:
        as_good = point.metric >= best - tolerance
        return (-best if as_good else -point.metric, point.price)

    for point in sorted(points, key=order)[:limit]:
        if holds(point):
            return [point]
    return []
