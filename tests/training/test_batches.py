"""Batches: padding and labels of every task; groups by length are found again and waste little."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from compressor.config.run import FeatureSettings
from compressor.tasks import Feature, make_task
from compressor.training import collate
from compressor.training.batches import LengthGroupedBatches
from tests.training.conftest import TOKENIZER


def feature(ids: list[int], **labels: Any) -> Feature:
    return Feature({"input_ids": ids, "attention_mask": [1] * len(ids)}, labels, 0)


def test_inputs_are_padded_to_the_longest_row() -> None:
    task = make_task("question-answering", FeatureSettings())
    rows = [feature([5, 6, 7], start_positions=1, end_positions=2), feature([8], start_positions=0, end_positions=0)]
    inputs, labels = collate(rows, TOKENIZER, task)
    assert inputs["input_ids"].tolist() == [[5, 6, 7], [8, 0, 0]]
    assert inputs["attention_mask"].tolist() == [[1, 1, 1], [1, 0, 0]]
    assert {name: value.tolist() for name, value in labels.items()} == {
        "start_positions": [1, 0],
        "end_positions": [2, 0],
    }
    assert all(value.dtype == torch.int64 for value in [*inputs.values(), *labels.values()])


def test_token_labels_are_padded_with_what_the_loss_ignores() -> None:
    task = make_task("token-classification", FeatureSettings(), ("O", "B-X"))
    _, labels = collate([feature([5, 6, 7], labels=[-100, 1, 0]), feature([8], labels=[0])], TOKENIZER, task)
    assert labels["labels"].tolist() == [[-100, 1, 0], [0, -100, -100]]


def test_numbers_stay_numbers() -> None:
    task = make_task("text-regression", FeatureSettings())
    _, labels = collate([feature([5], labels=1.0), feature([5, 6], labels=2.5)], TOKENIZER, task)
    assert labels["labels"].tolist() == [1.0, 2.5] and labels["labels"].dtype == torch.float32


def test_single_and_several_labels() -> None:
    single = make_task("text-classification", FeatureSettings(), ("a", "b"))
    several = make_task("text-classification", FeatureSettings(), ("a", "b"), multi_label=True)
    _, one = collate([feature([5], labels=1), feature([5, 6], labels=0)], TOKENIZER, single)
    _, many = collate([feature([5], labels=[1.0, 0.0]), feature([5, 6], labels=[1.0, 1.0])], TOKENIZER, several)
    assert one["labels"].tolist() == [1, 0] and one["labels"].dtype == torch.int64
    assert many["labels"].tolist() == [[1, 0], [1, 1]] and many["labels"].dtype == torch.float32


def test_unlabelled_rows() -> None:
    task = make_task("text-classification", FeatureSettings(), ("a", "b"))
    assert collate([feature([5])], TOKENIZER, task)[1] == {}


@given(st.lists(st.integers(1, 64), min_size=1, max_size=200), st.integers(1, 9), st.integers(0, 5), st.booleans())
def test_every_row_once_an_epoch_in_an_order_that_is_found_again(
    lengths: list[int], batch_size: int, epoch: int, group: bool
) -> None:
    batches = LengthGroupedBatches(lengths, batch_size, seed=3, group=group)
    batches.epoch = epoch
    order = list(batches)
    assert len(order) == len(batches)
    assert sorted(row for batch in order for row in batch) == list(range(len(lengths)))
    assert max(map(len, order)) <= batch_size
    again = LengthGroupedBatches(lengths, batch_size, seed=3, group=group)
    again.epoch = epoch
    assert list(again) == order


def test_epochs_and_seeds_differ() -> None:
    lengths = list(range(1, 101))
    one, other = LengthGroupedBatches(lengths, 8, seed=0), LengthGroupedBatches(lengths, 8, seed=1)
    first = list(one)
    one.epoch = 1
    assert first != list(one) and first != list(other)


def padded(batches: LengthGroupedBatches) -> int:
    return sum(int(batches.lengths[batch].max()) * len(batch) for batch in batches)


def test_groups_compute_little_padding() -> None:
    lengths = np.random.default_rng(0).integers(20, 385, 2000).tolist()
    assert padded(LengthGroupedBatches(lengths, 16, seed=0)) < 1.05 * sum(lengths)
    assert padded(LengthGroupedBatches(lengths, 16, seed=0, group=False)) > 1.5 * sum(lengths)


def test_the_longest_batch_comes_first() -> None:
    lengths = np.random.default_rng(0).integers(20, 385, 500).tolist()
    assert max(lengths[row] for row in next(iter(LengthGroupedBatches(lengths, 16, seed=0)))) == max(lengths)


def test_batches_are_not_sorted_by_length() -> None:
    lengths = np.random.default_rng(0).integers(20, 385, 1600).tolist()
    longest = [max(lengths[row] for row in batch) for batch in LengthGroupedBatches(lengths, 16, seed=0)]
    assert abs(float(np.corrcoef(longest, np.arange(len(longest)))[0, 1])) < 0.3


@pytest.mark.parametrize("count", [1, 7, 8, 9])
def test_the_number_of_batches(count: int) -> None:
    assert len(LengthGroupedBatches([5] * count, 4, seed=0)) == -(-count // 4)
