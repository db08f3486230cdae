"""Rounds of an advice: which shapes go on, without any training."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from compressor.advisor.prices import Priced
from compressor.advisor.rounds import Judged, Record, Training, run_rounds
from compressor.advisor.settings import AdviseSettings
from compressor.progress import Silent

METRICS = {"teacher": 90.0, "large": 80.0, "middle": 70.0, "small": 20.0}
"""Points of each shape; the more of them, the slower it is."""


class Told(Training):
    """Trains nothing: shapes have the metrics above."""

    def __init__(self) -> None:
        super().__init__([cast(Any, SimpleNamespace(progress=Silent()))], AdviseSettings(), Record())

    def cost(self, group: Any, share: float) -> float:
        return share

    def see_what_is_reachable(self, group: Any) -> None:
        self.record.reachable = METRICS[group[0].candidate.shape.name]

    def judge(self, group: Any, share: float, part: str = "search") -> list[Judged]:
        name = group[0].candidate.shape.name
        found = [Judged(group[0].name, name, share, METRICS[name])]
        self.record.judged += found
        return found


def group(name: str) -> list[Priced]:
    shape = SimpleNamespace(name=name, is_trained=name != "teacher")
    price = SimpleNamespace(p50_ms=METRICS[name])
    return cast(Any, [SimpleNamespace(name=f"{name}-fp32", candidate=SimpleNamespace(shape=shape), price=price)])


def test_a_shape_that_costs_nothing_takes_nobodys_place() -> None:
    training = Told()
    left = run_rounds(
        {name: group(name) for name in METRICS}, "latency", training, AdviseSettings(eta=2, rounds=3), 16.0
    )
    assert left == ["teacher", "small", "large"]  # both ends of the front of those that are trained
    assert "teacher-fp32" in training.record.last() and training.record.reachable == METRICS["teacher"]
    assert list(training.record.stopped) == ["middle"]


def test_a_small_budget_leaves_rounds_out() -> None:
    training = Told()
    groups = {name: group(name) for name in METRICS if name != "teacher"}
    left = run_rounds(groups, "metric", training, AdviseSettings(), 6.0)  # 1.5 full trainings
    assert left == ["large", "middle"]
    assert {found.share for found in training.record.judged} == {1 / 16}


def test_nothing_but_the_teacher() -> None:
    training = Told()
    assert run_rounds({"teacher": group("teacher")}, "latency", training, AdviseSettings(), 0.0) == ["teacher"]
