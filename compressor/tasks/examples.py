"""What a labelled example is, for each task. Plain data; imports nothing heavy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar


@dataclass(frozen=True)
class Answer:
    """A span of the context: its text and the character where it starts."""

    text: str
    start: int


@dataclass(frozen=True)
class QuestionExample:
    """A question about a context; `answers` is empty for unlabelled data."""

    id: str
    question: str
    context: str
    answers: tuple[Answer, ...] = ()


@dataclass(frozen=True)
class Text:
    """A text, or a pair of texts."""

    text: str
    pair: str | None = None


@dataclass(frozen=True)
class TextExample(Text):
    """A text, or a pair of texts, with its label names (one for single-label, any number for multi-label)."""

    labels: tuple[str, ...] = ()


@dataclass(frozen=True)
class ScoredExample(Text):
    """A text, or a pair of texts, with a finite number; None for unlabelled data."""

    score: float | None = None


@dataclass(frozen=True)
class TokenExample:
    """Words with one BIO tag each; `tags` is empty for unlabelled data."""

    words: tuple[str, ...]
    tags: tuple[str, ...] = ()


Example = QuestionExample | TextExample | ScoredExample | TokenExample

Kind = TypeVar("Kind")


def spread(examples: Sequence[Kind], count: int) -> list[Kind]:
    """At most `count` of the examples, at even distances over all of them."""
    count = min(count, len(examples))
    return [examples[place * len(examples) // count] for place in range(count)]
