"""The evolutionary search of length configurations, pure: any cost and any metric of a tuple of token counts.

Kim & Cho 2020, section 3.4: start from the smallest, the full and constant-rate configurations; then, again and
again, mutate and cross the members of the Pareto set. Everything is measured once; the same seed gives the
same search.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement
from math import ceil, comb

Gene = tuple[int, ...]
"""Token counts after each layer [layers], non-increasing."""


@dataclass(frozen=True)
class Point:
    """A measured configuration: its cost (lower is better) and its metric (higher is better)."""

    gene: Gene
    cost: float
    metric: float


@dataclass(frozen=True)
class Space:
    """All non-increasing configurations of `layers` counts between `minimum` and `longest` tokens."""

    layers: int
    longest: int
    minimum: int

    @property
    def full(self) -> Gene:
        """The configuration that drops nothing."""
        return (self.longest,) * self.layers

    @property
    def smallest(self) -> Gene:
        """The configuration that drops all it may in the first layer."""
        return (min(self.minimum, self.longest),) * self.layers

    def genes(self) -> Iterator[Gene]:
        """Every configuration."""
        counts = range(self.full[0], self.smallest[0] - 1, -1)
        return combinations_with_replacement(counts, self.layers)

    @property
    def size(self) -> int:
        """How many configurations there are: multisets of `layers` counts."""
        return comb(self.full[0] - self.smallest[0] + self.layers, self.layers)


@dataclass(frozen=True)
class Schedule:
    """How long the search goes on and how it makes children."""

    iterations: int = 30
    population: int = 20
    late: int = 0
    mutations: int = 30
    crossovers: int = 30
    mutation_probability: float = 0.5
    max_evaluations: int | None = None

    def limit(self, space: Space) -> int:
        """The most distinct configurations that a search can measure."""
        wanted = 2 + self.population + self.late + self.iterations * (self.mutations + self.crossovers)
        return max(2, min(wanted, space.size, self.max_evaluations or wanted))


def dominates(one: Point, other: Point) -> bool:
    """Whether `one` is nowhere worse than `other` and somewhere better."""
    no_worse = one.cost <= other.cost and one.metric >= other.metric
    return no_worse and (one.cost < other.cost or one.metric > other.metric)


def pareto_set(points: Sequence[Point]) -> list[Point]:
    """The points that no other dominates, cheapest first; points equal in both objectives all stay."""
    front: list[Point] = []
    best = float("-inf")  # metric of everything cheaper than the current group of equal costs
    for point in sorted(points, key=lambda p: (p.cost, -p.metric, p.gene)):
        same_as_last = bool(front) and (point.cost, point.metric) == (front[-1].cost, front[-1].metric)
        if point.metric > best or same_as_last:
            front.append(point)
            best = point.metric
    return front


def mutate(gene: Gene, space: Space, probability: float, generator: random.Random) -> Gene:
    """Draw each count anew with `probability`, uniformly between the next one of `gene` and the one before it."""
    child: list[int] = []
    for index, count in enumerate(gene):
        low = gene[index + 1] if index + 1 < len(gene) else space.smallest[0]
        high = child[-1] if child else space.longest
        child.append(generator.randint(low, high) if generator.random() < probability else count)
    return tuple(child)


def cross(first: Gene, second: Gene) -> Gene:
    """The element-wise mean of two parents, rounded up; it is non-increasing as they are."""
    return tuple(-(-(one + two) // 2) for one, two in zip(first, second, strict=True))


def constant_rate(space: Space, rate: float, start: int = 0) -> Gene:
    """Drop the same fraction `rate` of the tokens in every layer from `start` on: l_i = ceil((1 - rate) l_{i-1})."""
    gene: list[int] = []
    length = space.longest
    for layer in range(space.layers):
        if layer >= start:
            length = max(ceil((1.0 - rate) * length), space.smallest[0])
        gene.append(length)
    return tuple(gene)


def first_generation(space: Space, population: int, spacing: Callable[[Gene], float]) -> list[Gene]:
    """The full and the smallest configuration, then constant-rate ones as evenly apart in `spacing` as there are."""
    ends = [space.full, space.smallest]
    return ends + _evenly_apart(space, population, spacing, 0, set(ends))


def late_starts(space: Space, population: int, spacing: Callable[[Gene], float]) -> list[Gene]:
    """Constant rates that begin after two thirds, then after a third of the layers; not in the paper.

    What an early layer does not look at is often part of an answer, what a late layer does not look at seldom is:
    from the paper's start alone, a search of few evaluations hardly comes to configurations that drop late.
    """
    first, second = 2 * space.layers // 3, space.layers // 3
    taken = {space.full, space.smallest}
    chosen = _evenly_apart(space, (population + 1) // 2, spacing, first, taken) if first else []
    return chosen + (_evenly_apart(space, population // 2, spacing, second, taken | set(chosen)) if second else [])


def _evenly_apart(
    space: Space, wanted: int, spacing: Callable[[Gene], float], start: int, taken: set[Gene]
) -> list[Gene]:
    steps = 4 * max(space.longest, wanted)
    genes = {constant_rate(space, step / steps, start) for step in range(1, steps)} - taken
    rest = sorted((spacing(gene), gene) for gene in genes)
    top, bottom = spacing(space.full), spacing(space.smallest if start == 0 or not rest else rest[0][1])
    chosen: list[Gene] = []
    for index in range(min(wanted, len(rest))):
        place = bottom + (top - bottom) * (index + 1) / (wanted + 1)
        nearest = min(rest, key=lambda entry: abs(entry[0] - place))
        rest.remove(nearest)
        chosen.append(nearest[1])
    return chosen


def evolve(
    space: Space,
    schedule: Schedule,
    cost: Callable[[Gene], float],
    metric: Callable[[Gene], float],
    *,
    seed: int,
    budget: float | None = None,
    spacing: Callable[[Gene], float] | None = None,
    reach: float | None = None,
    seen: Callable[[Point], None] = lambda point: None,
) -> list[Point]:
    """Search `space` and return every configuration measured, in the order of measuring.

    `metric` is asked once a distinct configuration, at most `schedule.limit(space)` times. Children that cost
    more than `budget` are given up before their metric is measured; the full configuration and the first
    generation are always measured. `spacing` (default: `cost`) spaces the first generation. With `reach`, half
    of the parents are members of the front whose metric is at most that far below the full configuration's, so
    that few evaluations go to where the answer cannot be. `seen` is told of each new point.
    """
    generator = random.Random(seed)
    points: dict[Gene, Point] = {}
    too_dear: set[Gene] = set()
    limit = schedule.limit(space)

    def measure(gene: Gene, *, accept_any: bool = False) -> bool:
        if gene in points or gene in too_dear or len(points) >= limit:
            return False
        price = cost(gene)
        if budget is not None and price > budget and not accept_any:
            too_dear.add(gene)
            return False
        points[gene] = Point(gene, price, metric(gene))
        seen(points[gene])
        return True

    def breed(wanted: int, child: Callable[[], Gene]) -> None:
        made = 0
        for _ in range(20 * wanted):  # a small or exhausted space has no more new children to give
            if made == wanted or len(points) >= limit:
                return
            made += measure(child())

    start = first_generation(space, schedule.population, spacing or cost)
    for gene in start + late_starts(space, schedule.late, spacing or cost):
        measure(gene, accept_any=True)
    if limit == space.size:  # small enough to measure all of it
        for gene in space.genes():
            measure(gene)
    stuck = False
    for iteration in range(schedule.iterations):
        if len(points) >= limit:
            break
        share = ceil((limit - len(points)) / (schedule.iterations - iteration))
        total = schedule.mutations + schedule.crossovers
        mutations = min(schedule.mutations, ceil(share * schedule.mutations / max(total, 1)))
        everything = list(points.values())
        parents = [point.gene for point in (everything if stuck else pareto_set(everything))]
        floor = float("inf") if reach is None else points[space.full].metric - reach
        good = [gene for gene in parents if points[gene].metric >= floor]

        def parent(parents: list[Gene] = parents, good: list[Gene] = good) -> Gene:
            return generator.choice(good if good and generator.random() < 0.5 else parents)

        breed(mutations, lambda: mutate(parent(), space, schedule.mutation_probability, generator))
        breed(min(schedule.crossovers, max(share - mutations, 0)), lambda: cross(parent(), parent()))
        stuck = len(points) == len(everything)  # the front has no new children left: let the others have some
    return list(points.values())


def choose(points: Sequence[Point], full: Point, *, max_drop: float, budget: float | None = None) -> Point | None:
    """The cheapest point within `budget` at most `max_drop` below `full`; the better metric among equals.

    None if nothing meets both.
    """
    good = [
        point for point in points if point.metric >= full.metric - max_drop and (budget is None or point.cost <= budget)
    ]
    return min(good, key=lambda point: (point.cost, -point.metric, point.gene), default=None)
