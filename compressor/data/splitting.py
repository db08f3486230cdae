"""Divides a source: calibration and search come out of the training data, dev stays untouched."""

from __future__ import annotations

import hashlib
from collections.abc import Hashable, Sequence
from random import Random

from compressor.config.run import DataSettings
from compressor.data.source import Source
from compressor.data.splits import Splits
from compressor.errors import DataError
from compressor.tasks.examples import Example, QuestionExample, Text

LARGEST_SEARCH = 0.2
"""The search takes at most this fraction of the training data."""


def split(source: Source, settings: DataSettings, seed: int) -> Splits:
    """Sample, hold out and fingerprint.

    A text that is in dev is taken out of the training data, and a text (a context, for questions) held out for the
    search is in no other part: nothing that is reported on or searched with was trained on. Raises `DataError` where
    nothing is left to train on.
    """
    if not source.dev:
        raise DataError(f"{source.name}: there are no dev examples to report on.")
    reported = {group(example) for example in source.dev}
    train = [example for example in source.train if group(example) not in reported]
    if source.train and not train:
        raise DataError(
            f"{source.name}: every training example is in the dev data too, so nothing is left to train on; "
            "give different files for data.train and data.dev."
        )
    train = sample(train, settings.max_train, f"{seed}/train")
    train, search = hold_out(train, settings.search, seed)
    parts: dict[str, Sequence[Example]] = {
        "train": train,
        "calibration": sample(train, settings.calibration, f"{seed}/calibration"),
        "search": search,
        "dev": sample(source.dev, settings.max_dev, f"{seed}/dev"),
    }
    return Splits(
        name=source.name,
        labels=source.labels,
        multi_label=source.multi_label,
        fingerprints={name: fingerprint(examples) for name, examples in parts.items()},
        **parts,
    )


def group(example: Example) -> Hashable:
    """What must not be in two parts at once: the context of a question, a text with its pair, a sentence."""
    if isinstance(example, QuestionExample):
        return example.context
    if isinstance(example, Text):
        return (example.text, example.pair)
    return example.words


def sample(examples: Sequence[Example], count: int | None, stream: str) -> list[Example]:
    """At most `count` examples, in their order."""
    if count is None or len(examples) <= count:
        return list(examples)
    chosen = Random(stream).sample(range(len(examples)), count)
    return [examples[index] for index in sorted(chosen)]


def hold_out(examples: Sequence[Example], count: int, seed: int) -> tuple[list[Example], list[Example]]:
    """Divide into what stays for training and at most `count` held-out examples.

    Whole groups are held out; the examples of the last group that are too many are in neither part.
    """
    limit = min(count, int(len(examples) * LARGEST_SEARCH))
    groups: dict[Hashable, list[Example]] = {}
    for example in examples:
        groups.setdefault(group(example), []).append(example)
    order = list(groups)
    Random(f"{seed}/search").shuffle(order)
    held: set[Hashable] = set()
    taken = 0
    for key in order:
        if taken >= limit or len(held) == len(order) - 1:
            break
        held.add(key)
        taken += len(groups[key])
    search = [example for example in examples if group(example) in held]
    return [example for example in examples if group(example) not in held], search[:limit]


def fingerprint(examples: Sequence[Example]) -> str:
    """SHA-256 of the examples' content, in order."""
    digest = hashlib.sha256()
    for example in examples:
        digest.update(repr(example).encode())
        digest.update(b"\n")
    return digest.hexdigest()
