"""Batches: every feature once, nearly equal lengths, right padding."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from compressor.graph.passes.batches import by_length, pad
from compressor.tasks.base import Feature


@given(st.lists(st.integers(1, 400), max_size=60), st.integers(1, 8), st.integers(1, 600))
def test_groups(lengths: list[int], size: int, tokens: int) -> None:
    groups = list(by_length(lengths, size=size, tokens=tokens))
    assert sorted(index for group in groups for index in group) == list(range(len(lengths)))
    for group in groups:
        longest, shortest = lengths[group[0]], lengths[group[-1]]
        assert longest == max(lengths[index] for index in group)
        assert shortest >= 0.95 * longest
        assert len(group) == 1 or (len(group) <= size and len(group) * longest <= tokens)


def test_short_rows_share_a_batch_and_long_ones_do_not() -> None:
    assert [len(group) for group in by_length([20] * 8 + [300] * 2, size=8)] == [1, 1, 8]


def test_padding_and_made_up_inputs() -> None:
    features = [Feature({"input_ids": [5, 6, 7]}, {}, 0), Feature({"input_ids": [8], "attention_mask": [1]}, {}, 1)]
    feed = pad(features, ["input_ids", "attention_mask", "token_type_ids"], 9)
    assert feed["input_ids"].tolist() == [[5, 6, 7], [8, 9, 9]]
    assert feed["attention_mask"].tolist() == [[1, 1, 1], [1, 0, 0]]
    assert feed["token_type_ids"].tolist() == [[0, 0, 0], [0, 0, 0]]
