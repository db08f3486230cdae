"""The evolutionary search against brute force on small spaces."""

from __future__ import annotations

import itertools
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compressor.graph.passes.search_lengths.evolution import (
    Gene,
    Point,
    Schedule,
    Space,
    choose,
    constant_rate,
    cross,
    dominates,
    evolve,
    first_generation,
    late_starts,
    mutate,
    pareto_set,
)

spaces = st.builds(
    lambda layers, minimum, more: Space(layers, minimum + more, minimum),
    st.integers(1, 4), st.integers(1, 3), st.integers(0, 4),
)  # fmt: skip
points = st.lists(
    st.builds(Point, st.tuples(st.integers(1, 9)), st.integers(0, 6), st.integers(0, 6)), min_size=1, max_size=25
)


def every_gene(space: Space) -> list[Gene]:
    low, high = space.smallest[0], space.longest
    return [
        gene
        for gene in itertools.product(range(low, high + 1), repeat=space.layers)
        if all(one >= two for one, two in itertools.pairwise(gene))
    ]


def quadratic(gene: Gene) -> float:
    return sum(count + 0.01 * count * count for count in gene)


def score(gene: Gene) -> float:
    """Later layers matter less; the last tokens matter least."""
    return -sum((20 - count) ** 2 / (index + 1) for index, count in enumerate(gene))


@given(spaces)
def test_size_of_a_space_is_the_number_of_its_genes(space: Space) -> None:
    assert space.size == len(every_gene(space))
    assert sorted(space.genes()) == sorted(every_gene(space))
    assert space.full in every_gene(space)
    assert space.smallest in every_gene(space)


def test_a_length_below_the_minimum_leaves_one_gene() -> None:
    assert Space(3, 1, 2).size == 1
    assert len(evolve(Space(3, 1, 2), Schedule(), quadratic, score, seed=0)) == 1


@given(points)
def test_pareto_set_is_what_nothing_dominates(measured: list[Point]) -> None:
    front = pareto_set(measured)
    expected = [point for point in measured if not any(dominates(other, point) for other in measured)]
    assert sorted(front, key=repr) == sorted(expected, key=repr)
    assert [point.cost for point in front] == sorted(point.cost for point in front)


def test_equal_points_stay_and_the_dearest_can_leave() -> None:
    twins = [Point((3,), 1, 5), Point((4,), 1, 5)]
    full = Point((9,), 9, 5)  # as good as the twins, dearer than both
    assert pareto_set([full, *twins]) == twins


@given(spaces, st.integers(0, 2**16), st.floats(0, 1))
def test_children_stay_in_the_space(space: Space, seed: int, probability: float) -> None:
    generator = random.Random(seed)
    genes = every_gene(space)
    first, second = generator.choice(genes), generator.choice(genes)
    assert mutate(first, space, probability, generator) in genes
    assert cross(first, second) in genes
    assert constant_rate(space, probability) in genes


def test_mutation_draws_between_the_next_count_and_the_one_before() -> None:
    space = Space(3, 10, 1)
    children = {mutate((8, 5, 2), space, 1.0, random.Random(seed)) for seed in range(400)}
    assert {child[0] for child in children} == set(range(5, 11))
    assert min(child[1] for child in children) == 2
    assert {child[2] for child in children} >= {1, 2, 3}
    assert mutate((8, 5, 2), space, 0.0, random.Random(0)) == (8, 5, 2)


def test_crossover_rounds_up() -> None:
    assert cross((9, 4, 2), (4, 4, 1)) == (7, 4, 2)


def test_first_generation_is_evenly_spaced_in_cost() -> None:
    space = Space(6, 384, 2)
    genes = first_generation(space, 20, quadratic)
    assert genes[:2] == [space.full, space.smallest]
    assert len(set(genes)) == 22
    costs = sorted(quadratic(gene) for gene in genes)
    step = (costs[-1] - costs[0]) / 21
    assert all(0.5 * step < after - before < 1.5 * step for before, after in itertools.pairwise(costs))


@settings(max_examples=40, deadline=None)
@given(spaces, st.integers(0, 5))
def test_a_space_smaller_than_the_search_is_measured_whole(space: Space, seed: int) -> None:
    found = evolve(space, Schedule(), quadratic, score, seed=seed)
    everything = [Point(gene, quadratic(gene), score(gene)) for gene in every_gene(space)]
    assert {point.gene for point in pareto_set(found)} == {point.gene for point in pareto_set(everything)}


@pytest.mark.parametrize("seed", range(4))
def test_a_search_of_a_large_space_comes_near_the_true_front(seed: int) -> None:
    space = Space(4, 20, 2)
    everything = [Point(gene, quadratic(gene), score(gene)) for gene in every_gene(space)]
    found = evolve(space, Schedule(max_evaluations=600), quadratic, score, seed=seed)
    assert len(found) == 600 < len(everything) / 10
    spread = score(space.full) - score(space.smallest)
    missed = [
        min(true.metric - point.metric for point in found if point.cost <= true.cost) / spread
        for true in pareto_set(everything)
    ]
    assert sum(missed) / len(missed) < 0.005
    drawn = random.Random(seed).sample(everything, 600)
    by_chance = [
        min((true.metric - point.metric for point in drawn if point.cost <= true.cost), default=spread) / spread
        for true in pareto_set(everything)
    ]
    assert sum(missed) < 0.5 * sum(by_chance)


@settings(max_examples=40, deadline=None)
@given(spaces, st.integers(1, 40), st.integers(0, 5))
def test_each_gene_is_measured_once_and_the_limit_holds(space: Space, limit: int, seed: int) -> None:
    asked: list[Gene] = []

    def metric(gene: Gene) -> float:
        asked.append(gene)
        return score(gene)

    schedule = Schedule(iterations=5, population=4, mutations=6, crossovers=6, max_evaluations=limit)
    found = evolve(space, schedule, quadratic, metric, seed=seed)
    assert len(asked) == len(set(asked)) == len(found) <= min(max(limit, 2), space.size)
    assert {space.full, space.smallest} <= set(asked)


def test_the_same_seed_gives_the_same_search_and_another_seed_another() -> None:
    def genes(seed: int) -> list[Gene]:
        found = evolve(Space(4, 60, 2), Schedule(max_evaluations=80), quadratic, score, seed=seed)
        return [point.gene for point in found]

    assert genes(1) == genes(1)
    assert genes(1) != genes(2)


def test_late_starts_keep_all_before_they_begin() -> None:
    space = Space(6, 384, 2)
    genes = late_starts(space, 12, quadratic)
    assert len(set(genes)) == 12
    assert all(gene[:2] == (384, 384) and gene[-1] < 384 for gene in genes)
    assert sum(gene[:4] == (384,) * 4 for gene in genes) == 6
    assert late_starts(Space(1, 9, 2), 4, quadratic) == []


def test_a_short_search_finds_late_drops_from_late_starts() -> None:
    """An early layer's tokens are dear to the metric, as an answer's are."""
    space = Space(6, 384, 2)

    def metric(gene: Gene) -> float:
        return 100 - sum((384 - k) * weight for k, weight in zip(gene, (0.5, 0.4, 0.3, 0.1, 0.01, 0.002), strict=True))

    def cheapest(late: int, reach: float | None) -> float:
        schedule = Schedule(late=late, max_evaluations=80)
        found = evolve(space, schedule, quadratic, metric, seed=0, reach=reach)
        return min(point.cost for point in found if point.metric >= 99)

    assert cheapest(12, 4.0) < cheapest(0, None)


def test_evolution_beats_constant_rates() -> None:
    """Where late layers matter more than early ones, the best configurations drop much at once."""
    space = Space(6, 384, 2)
    budgets = [quadratic(space.full) * share for share in (0.3, 0.5, 0.7, 0.9)]

    def best(schedule: Schedule) -> float:
        found = evolve(
            space, schedule, quadratic, lambda gene: -sum((384 - k) ** 2 * (i + 1) for i, k in enumerate(gene)), seed=0
        )
        assert len(found) <= 200
        return sum(max(point.metric for point in found if point.cost <= budget) for budget in budgets)

    assert best(Schedule(max_evaluations=200)) > best(Schedule(population=198, iterations=0))


def test_children_over_the_budget_are_not_measured() -> None:
    space = Space(3, 40, 2)
    budget = 0.3 * quadratic(space.full)
    found = evolve(space, Schedule(population=5, max_evaluations=60), quadratic, score, seed=0, budget=budget)
    assert all(point.cost <= budget for point in found[7:])
    assert found[0].gene == space.full


def test_choose_takes_the_cheapest_within_the_drop() -> None:
    full = Point((9,), 9.0, 80.0)
    others = [Point((7,), 7.0, 79.6), Point((6,), 6.0, 79.5), Point((5,), 5.0, 79.4), Point((4,), 6.0, 79.9)]
    assert choose([full, *others], full, max_drop=0.5) == others[3]  # the better of two equally cheap ones
    assert choose([full, *others], full, max_drop=0.0) == full
    assert choose([full, *others], full, max_drop=0.5, budget=5.5) is None


@pytest.mark.parametrize(("iterations", "mutations", "crossovers"), [(0, 30, 30), (3, 0, 4), (3, 4, 0), (2, 0, 0)])
def test_any_part_can_be_switched_off(iterations: int, mutations: int, crossovers: int) -> None:
    schedule = Schedule(iterations=iterations, population=3, mutations=mutations, crossovers=crossovers)
    found = evolve(Space(2, 9, 2), schedule, quadratic, score, seed=0)
    assert 5 <= len(found) <= schedule.limit(Space(2, 9, 2))
