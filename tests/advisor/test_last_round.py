"""What an advice asks last: candidates of shapes that are trained in full cost a run alone."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from compressor.advisor import last_round
from compressor.advisor.finals import Final
from compressor.advisor.halving import Point
from compressor.advisor.last_round import LastRound
from compressor.advisor.limits import Limit

SEARCH = {"a-fp32": (90.0, 5.0), "a-int8": (89.0, 2.0), "b-fp32": (80.0, 1.0), "b-int8": (40.0, 0.5)}
"""Metric and price of each candidate once its shape is trained in full."""


def a_round(monkeypatch: pytest.MonkeyPatch, *, finalists: int, meets: set[str]) -> LastRound:
    def member(name: str, trained: bool = True) -> Any:
        shape = SimpleNamespace(name=name[0], is_trained=trained)
        return SimpleNamespace(name=name, candidate=SimpleNamespace(shape=shape))

    groups: Any = {shape: [member(name) for name in SEARCH if name.startswith(shape)] for shape in "ab"}
    settings = SimpleNamespace(finalists=finalists, budget=0.25, tolerance=0.3)
    training: Any = SimpleNamespace(teachers=[SimpleNamespace(progress=None)], record=SimpleNamespace(spent={}))
    question: Any = SimpleNamespace(settings=settings)
    made = LastRound(question, groups, training, [Limit("min_metric", 60.0)], grid=100.0)
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
