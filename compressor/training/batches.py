"""Batches: features padded to the longest row, grouped by length so that little padding is computed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.utils.data import DataLoader, Sampler

from compressor.tasks.base import Feature, Task

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

IGNORED_LABEL = -100
_POOL = 50  # batches that are sorted by length together
Batch = tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]


def pad_inputs(features: Sequence[Feature], tokenizer: PreTrainedTokenizerBase) -> dict[str, torch.Tensor]:
    """Stack the inputs of `features`, padded on the right to the longest row: int64 [batch, length] each."""
    fill = {"input_ids": tokenizer.pad_token_id or 0, "token_type_ids": tokenizer.pad_token_type_id or 0}
    length = max(feature.length for feature in features)
    inputs = {}
    for name in features[0].inputs:
        rows = np.full((len(features), length), fill.get(name, 0), dtype=np.int64)
        for row, feature in zip(rows, features, strict=True):
            values = feature.inputs[name]
            row[: len(values)] = values
        inputs[name] = torch.from_numpy(rows)
    return inputs


def collate(features: Sequence[Feature], tokenizer: PreTrainedTokenizerBase, task: Task) -> Batch:
    """Turn features into (inputs, labels), padded to the longest row.

    Inputs are int64 [batch, length]. Labels are int64 [batch] (spans, single label), float32 [batch] (regression) or
    [batch, labels] (multi-label), or int64 [batch, length] with -100 at padding (token classification); empty without
    labels.
    """
    inputs = pad_inputs(features, tokenizer)
    if not features[0].labels:
        return inputs, {}
    length = inputs["input_ids"].shape[1]
    labels = {}
    for name in features[0].labels:
        values = [feature.labels[name] for feature in features]
        if task.name == "token-classification":
            rows = np.full((len(features), length), IGNORED_LABEL, dtype=np.int64)
            for row, value in zip(rows, values, strict=True):
                row[: len(value)] = value
            labels[name] = torch.from_numpy(rows)
        else:
            numbers = task.multi_label or task.name == "text-regression"
            labels[name] = torch.tensor(values, dtype=torch.float32 if numbers else torch.int64)
    return inputs, labels


class LengthGroupedBatches(Sampler[list[int]]):
    """Batches of row numbers; the order is a pure function of seed and epoch, so that a killed run finds it again.

    Rows are shuffled, sorted by length within pools of 50 batches, cut into batches, and the batches shuffled. The
    longest batch of the first epoch comes first: what does not fit into memory shows at once.
    """

    def __init__(self, lengths: Sequence[int], batch_size: int, seed: int, *, group: bool = True) -> None:
        self.lengths = np.asarray(lengths)
        self.batch_size = batch_size
        self.seed = seed
        self.group = group
        self.epoch = 0

    def __len__(self) -> int:
        """Batches in an epoch; the last may be smaller."""
        return -(-len(self.lengths) // self.batch_size)

    def __iter__(self) -> Iterator[list[int]]:
        """Yield the batches of the current epoch."""
        random = np.random.default_rng((self.seed, self.epoch))
        order = random.permutation(len(self.lengths))
        if not self.group:
            return iter(self._cut(order))
        pool = self.batch_size * _POOL
        parts = [order[start : start + pool] for start in range(0, len(order), pool)]
        batches = self._cut(np.concatenate([part[np.argsort(-self.lengths[part], kind="stable")] for part in parts]))
        batches = [batches[i] for i in random.permutation(len(batches))]
        if self.epoch == 0:
            longest = max(range(len(batches)), key=lambda i: int(self.lengths[batches[i]].max()))
            batches[0], batches[longest] = batches[longest], batches[0]
        return iter(batches)

    def _cut(self, order: np.ndarray) -> list[list[int]]:
        return [order[i : i + self.batch_size].tolist() for i in range(0, len(order), self.batch_size)]


class BatchLoader(DataLoader[Batch]):
    """A data loader over features that knows the epoch it is in."""

    def __init__(
        self,
        batches: LengthGroupedBatches,
        features: Sequence[Feature],
        tokenizer: PreTrainedTokenizerBase,
        task: Task,
        *,
        pin_memory: bool,
    ) -> None:
        self.batches = batches
        super().__init__(
            features,  # type: ignore[arg-type]
            batch_sampler=batches,
            collate_fn=lambda rows: collate(rows, tokenizer, task),
            pin_memory=pin_memory,
        )

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of the batches."""
        self.batches.epoch = epoch
