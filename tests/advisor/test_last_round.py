"""What an advice asks last: candidates of shapes that are trained in full cost a run alone."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from compressor.advisor import last_round
from compressor.advisor.finals import Final
from compressor.advisor.halving import Point
from compressor.advisor.last_round import LastRound
from compressor.advisor.limits import Limit
from compressor.advisor.rounds import Judged, Record
from compressor.config.run import GateSettings
from compressor.progress import Silent

SEARCH = {"a-fp32": (90.0, 5.0), "a-int8": (89.0, 2.0), "b-fp32": (80.0, 1.0), "b-int8": (40.0, 0.5)}
"""Metric and price of each candidate once its shape is trained in full."""
FLOOR: Mapping[str, Any] = {"max_metric_drop": None, "min_metric": 60.0}


def a_round(monkeypatch: pytest.MonkeyPatch, *, finalists: int, meets: set[str]) -> LastRound:
    def member(name: str, trained: bool = True) -> Any:
        shape = SimpleNamespace(name=name[0], is_trained=trained)
        price = SimpleNamespace(p50_ms=SEARCH[name][1], speed=None)
        return SimpleNamespace(name=name, candidate=SimpleNamespace(shape=shape), price=price)

    groups: Any = {shape: [member(name) for name in SEARCH if name.startswith(shape)] for shape in "ab"}
    settings = SimpleNamespace(finalists=finalists, budget=0.25, tolerance=0.3)
    training: Any = SimpleNamespace(teachers=[SimpleNamespace(progress=None)], record=Record())
    question: Any = SimpleNamespace(settings=settings, request=SimpleNamespace(gates=GateSettings(**FLOOR)))
    made = LastRound(question, groups, training, [Limit("min_metric", 60.0)], grid=100.0, teacher=90.0)
    made.full = {shape: [Point(n, shape, *SEARCH[n]) for n in SEARCH if n.startswith(shape)] for shape in "ab"}

    def run(_: Any, chosen: Any, *rest: Any) -> Final:
        return Final(chosen.name, chosen.name in meets, None, Path(chosen.name))

    monkeypatch.setattr(last_round, "run_final", run)
    return made


def test_of_a_shape_that_is_trained_the_fastest_candidate_that_holds_is_the_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = a_round(monkeypatch, finalists=3, meets={"a-fp32", "a-int8", "b-fp32", "b-int8"})
    first = Point("a-fp32", "a", *SEARCH["a-fp32"])
    assert asked.holds(first)
    (answer,) = asked._faster_of_trained([first])
    assert answer.name == "b-fp32"  # b-int8 is faster, and below the floor on the search part already
    assert [final.name for final in asked.finals] == ["a-fp32", "b-fp32"]


def test_one_that_does_not_hold_gives_way_to_the_next_as_far_as_runs_are_left(monkeypatch: pytest.MonkeyPatch) -> None:
    for finalists, expected in ((3, ["a-int8"]), (2, [])):
        asked = a_round(monkeypatch, finalists=finalists, meets={"a-fp32", "a-int8"})
        first = Point("a-fp32", "a", *SEARCH["a-fp32"])
        assert asked.holds(first)
        assert [point.name for point in asked._faster_of_trained([first])] == expected
        assert len(asked.finals) == finalists


def test_nothing_is_asked_where_nothing_held(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = a_round(monkeypatch, finalists=3, meets=set())
    assert asked._faster_of_trained([]) == [] and not asked.finals


CURVE = {"tiny": (15.0, 1.0), "small": (70.0, 2.0), "large": (88.0, 7.0), "teacher": (90.0, 8.0)}
"""Metric after a short training, and price."""


def a_search(
    monkeypatch: pytest.MonkeyPatch,
    *,
    trainings: float,
    meets: set[str],
    without: str = "none",
    curve: Mapping[str, tuple[float, float]] = CURVE,
    costs: Mapping[str, float] = {},
    share: float = 1 / 16,
    gates: Mapping[str, float | None] = {"max_metric_drop": None, "min_metric": 88.0},
) -> LastRound:
    """A last round in which each shape has one candidate and a training costs 1 if not given; the teacher is free."""

    def member(name: str) -> Any:
        shape = SimpleNamespace(name=name, is_trained=name != "teacher")
        return SimpleNamespace(
            name=name, candidate=SimpleNamespace(shape=shape), price=SimpleNamespace(p50_ms=curve[name][1], speed=None)
        )

    record = Record()

    class Full:
        teachers = (SimpleNamespace(progress=Silent()),)

        def __init__(self) -> None:
            self.record = record

        def cost(self, group: Any, share: float) -> float:
            return 0.0 if group[0].name == "teacher" or group[0].name in record.spent else costs.get(group[0].name, 1.0)

        def judge(self, group: Any, share: float) -> list[Judged]:
            name = group[0].name
            if name != "teacher":
                record.spent[name] = costs.get(name, 1.0)
            record.judged.append(Judged(name, name, 1.0, 89.0 if name in meets else 60.0))
            return record.judged[-1:]

    groups: Any = {name: [member(name)] for name in curve if name != without}
    record.judged += [Judged(name, name, share, curve[name][0]) for name in groups]
    settings = SimpleNamespace(finalists=3, budget=1.0, tolerance=0.3, above_teacher=1.0)
    question: Any = SimpleNamespace(settings=settings, request=SimpleNamespace(gates=GateSettings(**gates)))
    training: Any = Full()
    made = LastRound(question, groups, training, [Limit("min_metric", 88.0)], grid=trainings, teacher=90.0)
    monkeypatch.setattr(
        last_round,
        "run_final",
        lambda _, chosen, *rest: Final(chosen.name, chosen.name in meets, None, Path(chosen.name)),
    )
    return made


def asked(made: LastRound) -> list[str]:
    made.run(list(made.groups), "latency")
    return [final.name for final in made.finals]


def test_where_the_teacher_is_an_answer_the_training_is_spent_where_most_is_to_be_expected(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    everything = {"tiny", "small", "large", "teacher"}
    assert asked(a_search(monkeypatch, trainings=1.0, meets=everything)) == ["teacher", "small"]
    by_drop = {"max_metric_drop": 2.0, "min_metric": None}  # the same floor, said by what may be lost
    assert asked(a_search(monkeypatch, trainings=1.0, meets=everything, gates=by_drop)) == ["teacher", "small"]
    failing = a_search(monkeypatch, trainings=2.0, meets={"large", "teacher"})
    assert asked(failing) == ["teacher", "small", "large"]  # what is worse than one that failed is not asked


def test_one_is_trained_however_small_the_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    assert asked(a_search(monkeypatch, trainings=0.5, meets=set(CURVE))) == ["teacher", "small"]


def test_without_an_answer_the_last_training_is_that_of_the_best(monkeypatch: pytest.MonkeyPatch) -> None:
    assert asked(a_search(monkeypatch, trainings=1.0, meets=set(CURVE), without="teacher")) == ["large"]


def test_what_has_no_chance_is_not_trained(monkeypatch: pytest.MonkeyPatch) -> None:
    hopeless = {"tiny": (1.0, 1.0), "small": (2.0, 2.0), "large": (89.0, 7.0), "teacher": (90.0, 8.0)}
    for without, expected in (("teacher", ["large"]), ("none", ["teacher", "large"])):
        made = a_search(
            monkeypatch, trainings=3.0, meets={"large", "teacher"}, without=without, curve=hopeless, share=1 / 4
        )
        assert asked(made) == expected


def test_what_cannot_be_paid_keeps_nothing_else_from_being_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    curve = {"small": (85.0, 2.0), "mid": (86.0, 4.0), "big": (88.0, 9.0), "teacher": (90.0, 30.0)}
    made = a_search(monkeypatch, trainings=2.5, meets={"mid", "big", "teacher"}, curve=curve, costs={"big": 2.0})
    assert asked(made) == ["teacher", "small", "mid"]
    dear = a_search(
        monkeypatch, trainings=2.0, meets={"mid", "big"}, without="teacher", curve=curve, costs={"big": 4.0}
    )
    assert asked(dear)[-1] == "mid" and "big" not in asked(dear)


def test_the_teacher_is_asked_first_though_a_student_seems_better(monkeypatch: pytest.MonkeyPatch) -> None:
    better = {"small": (95.0, 2.0), "teacher": (90.0, 8.0)}
    assert asked(a_search(monkeypatch, trainings=1.0, meets=set(better), curve=better)) == ["teacher", "small"]


def test_short_trainings_are_held_against_the_teacher_as_they_are_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    made = a_search(monkeypatch, trainings=1.0, meets=set(CURVE))
    point = Point("large", "large", *CURVE["large"])
    assert made._chance(point) == 1
    made.training.record.reachable = 95.0  # five points of it come from the decoding
    assert 0 < made._chance(point) < 1
    made.training.record.judged.append(Judged("large", "large", 1.0, 88.0))
    assert made._chance(point) == 1


def test_shapes_that_no_round_judged_are_trained_in_full(monkeypatch: pytest.MonkeyPatch) -> None:
    made = a_search(monkeypatch, trainings=1.0, meets={"large", "teacher"})
    made.training.record.judged[:] = [one for one in made.training.record.judged if one.name == "teacher"]
    made.run(["teacher", "large", "small"], "latency")
    assert [final.name for final in made.finals] == ["teacher", "large"]
