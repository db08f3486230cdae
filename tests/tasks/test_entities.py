from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compressor.tasks import entities


@pytest.mark.parametrize(
    ("tags", "found"),
    [
        ("O B-X I-X O", {("X", 1, 3)}),
        ("B-X B-X I-X", {("X", 0, 1), ("X", 1, 3)}),
        ("I-X I-X O I-X", {("X", 0, 2), ("X", 3, 4)}),  # IOB1, and stray tags
        ("B-X I-Y I-Y", {("X", 0, 1), ("Y", 1, 3)}),
        ("S-X B-X E-X B-X I-X E-X", {("X", 0, 1), ("X", 1, 3), ("X", 3, 6)}),  # IOBES
        ("B-first-name I-first-name", {("first-name", 0, 2)}),
        ("NN NN VB", {("NN", 0, 2), ("VB", 2, 3)}),
        ("", set()),
    ],
)
def test_entities(tags: str, found: set[entities.Entity]) -> None:
    assert entities.entities(tags.split()) == found


@given(st.lists(st.sampled_from(["O", "B-X", "I-X", "B-Y", "I-Y"]), max_size=12))
def test_entities_equal_a_slow_reading(tags: list[str]) -> None:
    def starts(position: int) -> bool:
        previous = tags[position - 1] if position else "O"
        return tags[position] != "O" and (tags[position][0] == "B" or previous[2:] != tags[position][2:])

    expected = set()
    for start in (position for position in range(len(tags)) if starts(position)):
        end = start + 1
        while end < len(tags) and tags[end] == f"I-{tags[start][2:]}":
            end += 1
        expected.add((tags[start][2:], start, end))
    assert entities.entities(tags) == expected


def test_counts_need_type_and_both_borders() -> None:
    true = ["B-X", "I-X", "O", "B-Y"]
    assert entities.counts([(true, ["B-X", "O", "O", "B-X"]), (true, true)]) == (2, 4, 4)
    assert entities.f1(2, 4, 4) == 0.5
    assert entities.f1(0, 0, 0) == 1.0
