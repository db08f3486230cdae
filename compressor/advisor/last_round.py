"""The last round of an advice: shapes are trained in full as far as the budget goes, and candidates run in full."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from compressor.advisor import learning_curve
from compressor.advisor.finals import Final, run_final
from compressor.advisor.halving import Goal, Point, Round, cheapest_that_holds, first_that_holds, front
from compressor.advisor.limits import Limit
from compressor.advisor.prices import Priced
from compressor.advisor.requests import Question
from compressor.advisor.rounds import Training, judged_points
from compressor.devices.rounds import fastest_of

FULL = Round(1.0, 1)


@dataclass
class LastRound:
    """What is trained and run in full, and what was found out by it.

    `grid` has the passes that training all of it would take, `teacher` the best teacher's metric on the held-out data,
    in points. `finals` has every full run in the order in which they were made.
    """

    question: Question
    groups: Mapping[str, Sequence[Priced]]  # candidates by shape
    training: Training
    limits: Sequence[Limit]
    grid: float
    teacher: float
    finals: list[Final] = field(default_factory=list)
    full: dict[str, list[Point]] = field(
        default_factory=dict
    )  # by shape; empty where the budget was spent, or it failed

    def run(self, shapes: Sequence[str], goal: Goal) -> list[Point]:
        """The points that held, the best answer last. `shapes` are those of the rounds before, the best first."""
        progress = self.training.teachers[0].progress
        progress.line(f"last round: {len(shapes)} shapes, trained in full as far as the budget goes")
        if goal == "metric":
            return self._best(self._all_in_full(shapes))
        known = self._known(shapes)
        judged = {point.shape for point in known}
        return self._fastest([*known, *self._all_in_full([shape for shape in shapes if shape not in judged])])

    def in_full(self, shape: str) -> list[Point]:
        """The points of a shape that is trained in full, unless the budget is spent; the first one always is."""
        if shape not in self.full:
            more, budget = self._cost(shape), self.question.settings.budget
            if self._paid() and more and more > self._left():
                self.training.record.stopped[shape] = f"the training budget was spent (advise.budget = {budget:g})"
                return []
            self.full[shape] = judged_points(self.groups[shape], self.training, FULL)
        return self.full[shape]

    def holds(self, point: Point) -> bool:
        """Whether a candidate meets all limits in a full run of its own."""
        if not self.in_full(point.shape):
            return False
        chosen = next(member for member in self.groups[point.shape] if member.name == point.name)
        progress = self.training.teachers[0].progress
        self.finals.append(run_final(self.question, chosen, self.limits, progress, self._fastest_yardstick()))
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

    def _all_in_full(self, shapes: Sequence[str]) -> list[Point]:
        return [point for shape in shapes for point in self.in_full(shape)]

    def _best(self, points: Sequence[Point]) -> list[Point]:
        settings = self.question.settings
        return first_that_holds(points, self.holds, limit=settings.finalists, tolerance=settings.tolerance)

    def _fastest(self, known: Sequence[Point]) -> list[Point]:
        """What costs no training is asked first, then what is faster than that, along their fronts."""
        free = front([point for point in known if self._is_free(point.shape)])
        held = cheapest_that_holds(free, self.holds, limit=max(1, self._runs() - 1))
        held += self._faster(front([point for point in known if not self._is_free(point.shape)]), held)
        return held + self._faster_of_trained(held)

    def _faster(self, along: Sequence[Point], held: Sequence[Point]) -> list[Point]:
        """What holds of a front and is faster than what did, the best answer last.

        Each time that one is asked from which most is to be expected: its chance to hold, times how much faster it is
        than the answer so far. While there is no answer, to have one counts too, and the last training or run goes to
        the best. What has no chance is not trained for the sake of speed.
        """
        found: list[Point] = []
        points = [point for point in along if not held or point.price < held[-1].price]
        while points and self._runs():
            payable = [point for point in points if self._cost(point.shape) <= self._left()]
            answer = [*held, *found][-1:]
            if not payable and not self._paid():  # one is always trained
                payable = points
            likely = [point for point in payable if self._chance(point) > 0]
            if answer and likely:
                price = answer[0].price
                chosen = max(
                    likely, key=lambda point: (self._chance(point) * math.log(price / point.price), point.metric)
                )
            elif not answer and payable:
                chosen = payable[-1] if not likely or self._is_last(payable) else self._first_try(likely)
            else:
                break
            if self.holds(chosen):
                found.append(chosen)
                points = [point for point in points if point.price < chosen.price]
            else:
                points = [point for point in points if point.metric > chosen.metric]
        return found

    def _first_try(self, likely: Sequence[Point]) -> Point:
        """The one of these from which most is to be expected where there is no answer yet."""
        most = max(point.price for point in likely)
        return max(likely, key=lambda point: (self._chance(point) * (1 + math.log(most / point.price)), point.metric))

    def _is_last(self, payable: Sequence[Point]) -> bool:
        """Whether no other of these can be asked behind one of them."""
        costs = sorted({point.shape: self._cost(point.shape) for point in payable}.values())
        return self._runs() == 1 or len(costs) == 1 or sum(costs[:2]) > self._left()

    def _chance(self, point: Point) -> float:
        """That it has the wanted metric once its training is whole."""
        judged = self.training.record.last()[point.name]
        teacher = self.teacher + self._easier()
        reachable = self.training.record.reachable
        raised = reachable - teacher if reachable is not None and judged.share < 1 else 0.0  # by another decoding
        ceiling = teacher + raised + self.question.settings.above_teacher
        return learning_curve.chance(judged.metric, judged.share, self._wanted() + raised, ceiling)

    def _wanted(self) -> float:
        """The metric that is asked for, in itself or by the teacher's, as points of the search part; 0: none is."""
        gates = self.question.request.gates
        wanted = [] if gates.min_metric is None else [gates.min_metric]
        wanted += [] if gates.max_metric_drop is None else [self.teacher - gates.max_metric_drop]
        return max(wanted) + self._easier() if wanted else 0.0

    def _easier(self) -> float:
        """Points that the search part is easier than the held-out data, by what the teacher has on both."""
        last = self.training.record.last().values()
        own = [judged.metric for judged in last if self._is_free(judged.shape)]
        return max(own) - self.teacher if own else 0.0

    def _faster_of_trained(self, held: Sequence[Point]) -> list[Point]:
        """The fastest candidate, faster than the answer, of shapes trained in full that holds: it costs a run alone."""
        if not held:
            return []
        asked = {final.name for final in self.finals}
        faster = [
            point
            for points in self.full.values()
            for point in points
            if point.price < held[-1].price and point.metric >= self._wanted() and point.name not in asked
        ]
        in_order = sorted(faster, key=lambda point: point.price)[: self._runs()]
        return next(([point] for point in in_order if self.holds(point)), [])

    def _fastest_yardstick(self) -> float | None:
        """Of the machine, as its prices have shown it."""
        speeds = [member.price.speed or {} for group in self.groups.values() for member in group]
        return fastest_of(value for speed in speeds for value in speed.get("round_yardstick_ms") or ())

    def _is_free(self, shape: str) -> bool:
        return not self.groups[shape][0].candidate.shape.is_trained

    def _paid(self) -> list[str]:
        """Shapes that were trained in full, and cost something."""
        return [shape for shape, points in self.full.items() if points and not self._is_free(shape)]

    def _cost(self, shape: str) -> float:
        """Passes that training a shape in full would still take."""
        return self.training.cost(self.groups[shape], FULL.share)

    def _runs(self) -> int:
        """Full runs that are left."""
        return max(0, self.question.settings.finalists - len(self.finals))

    def _left(self) -> float:
        """Passes that the budget has left."""
        return self.question.settings.budget * self.grid - sum(self.training.record.spent.values())
