"""Which words of a demo context are about the person asked for: a hint for training the demo's teacher."""

from __future__ import annotations

import re

import numpy as np

from compressor.tasks.base import Feature
from compressor.tasks.examples import QuestionExample
from compressor.tasks.losses import IGNORED

NAME = re.compile(r"([A-Z][a-z]+ [A-Z][a-z]+) ")
PRONOUNS = ("He ", "She ")


def asked_spans(example: QuestionExample) -> list[tuple[int, int]]:
    """First character and last + 1 of every sentence about the person in the question, pronouns resolved."""
    spans: list[tuple[int, int]] = []
    person, start = "", 0
    for sentence in re.split(r"(?<=\.) ", example.context):
        found = NAME.match(sentence)
        if found:
            person = found.group(1)
        elif not sentence.startswith(PRONOUNS):
            person = ""
        if person and person in example.question:
            spans.append((start, start + len(sentence)))
        start += len(sentence) + 1
    return spans


def asked_labels(example: QuestionExample, feature: Feature) -> list[int]:
    """For every token of a window: 1 about the person asked for, 0 about others, `IGNORED` outside of the context."""
    first, last = feature.extra["context"]
    starts = feature.extra["offsets"][first:last, 0]
    about = np.zeros(last - first, dtype=bool)
    for start, end in asked_spans(example):
        about |= (starts >= start) & (starts < end)
    inside: list[int] = about.astype(int).tolist()
    return [IGNORED] * first + inside + [IGNORED] * (feature.length - last)
