"""The last round of an advice: shapes are trained in full as far as the budget goes, and candidates run in full."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from compressor.advisor.finals import Final, run_final
from compressor.advisor.halving import Goal, Point, Round, cheapest_that_holds, first_that_holds, front
from compressor.advisor.limits import Limit
from compressor.advisor.prices import Priced
from compressor.advisor.requests import Question
from compressor.advisor.rounds import Training, judged_points

FULL = Round(1.0, 1)


@dataclass
class LastRound:
    """What is trained and run in full, and what was found out by it. `grid`: passes that training all of it would take.

    `finals` has every full run in the order in which they were made.
    """

    question: Question
    groups: Mapping[str, Sequence[Priced]]  # candidates by shape
    training: Training
    limits: Sequence[Limit]
    grid: float
    finals: list[Final] = field(default_factory=list)
    full: dict[str, list[Point]] = field(
        default_factory=dict
    )  # by shape; empty where the budget was spent, or it failed

    def run(self, shapes: Sequence[str], goal: Goal) -> list[Point]:
        """The points that held, the best answer last. `shapes` are those of the rounds before, the best first."""
        progress = self.training.teachers[0].progress
        progress.line(f"last round: {len(shapes)} shapes, trained in full as far as the budget goes")
        if goal == "metric":
            return self._best(self._trained(shapes))
        return self._fastest(self._known(shapes) or self._trained(shapes))

    def trained(self, shape: str) -> list[Point]:
        """The points of a shape that is trained in full, unless the budget is spent; the first one always is."""
        if shape not in self.full:
            more, budget = self.training.cost(self.groups[shape], FULL.share), self.question.settings.budget
            paid = [one for one, points in self.full.items() if points and not self._is_free(one)]
            if paid and more and more > self._left():
                self.training.record.stopped[shape] = f"the training budget was spent (advise.budget = {budget:g})"
                return []
            self.full[shape] = judged_points(self.groups[shape], self.training, FULL)
        return self.full[shape]

    def holds(self, point: Point) -> bool:
        """Whether a candidate meets all limits in a full run of its own."""
        if not self.trained(point.shape):
            return False
        chosen = next(member for member in self.groups[point.shape] if member.name == point.name)
        self.finals.append(run_final(self.question, chosen, self.limits, self.training.teachers[0].progress))
        return self.finals[-1].met

    def _known(self, shapes: Sequence[str]) -> list[Point]:
        """The candidates as the round before has judged them."""
        last = self.training.record.last()
        return [
            Point(member.name, last[member.name].shape, last[member.name].metric, member.price.p50_ms)
            for shape in shapes
            for member in self.groups[shape]
            if member.name in last
        ]

    def _trained(self, shapes: Sequence[str]) -> list[Point]:
        return [point for shape in shapes for point in self.trained(shape)]

    def _best(self, points: Sequence[Point]) -> list[Point]:
        settings = self.question.settings
        return first_that_holds(points, self.holds, limit=settings.finalists, tolerance=settings.tolerance)

    def _fastest(self, known: Sequence[Point]) -> list[Point]:
        """Along the front: what costs no training is asked first, then what is cheaper than that."""
        along = front(known)
        free = [point for point in along if self._is_free(point.shape)]
        held = cheapest_that_holds(free, self.holds, limit=1)
        cheaper = [point for point in along if point not in free and (not held or point.price < held[-1].price)]
        dearest = max((self.training.cost(self.groups[point.shape], FULL.share) for point in cheaper), default=0.0)
        affordable = int(self._left() / dearest) if dearest else len(cheaper)
        limit = min(self.question.settings.finalists - len(self.finals), max(1, affordable))
        held = held + cheapest_that_holds(cheaper, self.holds, limit=limit)
        return held + self._faster_of_trained(held)

    def _faster_of_trained(self, held: Sequence[Point]) -> list[Point]:
        """The fastest candidate, faster than the answer, of shapes trained in full that holds: it costs a run alone."""
        if not held:
            return []
        asked = {final.name for final in self.finals}
        wanted = next((limit.value for limit in self.limits if limit.name == "min_metric"), 0.0)
        faster = [
            point
            for points in self.full.values()
            for point in points
            if point.price < held[-1].price and point.metric >= wanted and point.name not in asked
        ]
        left = max(0, self.question.settings.finalists - len(self.finals))
        in_order = sorted(faster, key=lambda point: point.price)[:left]
        return next(([point] for point in in_order if self.holds(point)), [])

    def _is_free(self, shape: str) -> bool:
        return not self.groups[shape][0].candidate.shape.is_trained

    def _left(self) -> float:
        """Passes that the budget has left."""
        return self.question.settings.budget * self.grid - sum(self.training.record.spent.values())
