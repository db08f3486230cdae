"""Entities of a tagged sentence and their F1, in the manner of CoNLL-2000's `conlleval`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

Entity = tuple[str, int, int]
"""Type, first word, last word + 1."""


def split_tag(tag: str) -> tuple[str, str]:
    """Prefix and type: ("B", "PER") of B-PER; a tag without prefix is ("", tag); O is ("O", "")."""
    if tag == "O":
        return ("O", "")
    prefix, dash, kind = tag.partition("-")
    return (prefix, kind) if dash and prefix in ("B", "I", "E", "S") else ("", tag)


def entities(tags: Sequence[str]) -> set[Entity]:
    """Entities of IOB1, IOB2 or IOBES tags.

    An entity begins at B or S, after E or S, and wherever the type changes, so that a stray I- begins one too.
    """
    found: set[Entity] = set()
    start, previous_prefix, previous_kind = 0, "O", ""
    for position, tag in enumerate([*tags, "O"]):
        prefix, kind = split_tag(tag)
        goes_on = kind == previous_kind and prefix not in ("B", "S") and previous_prefix not in ("E", "S")
        if not goes_on:
            if previous_kind:
                found.add((previous_kind, start, position))
            start = position
        previous_prefix, previous_kind = prefix, kind
    return found


def counts(pairs: Iterable[tuple[Sequence[str], Sequence[str]]]) -> tuple[int, int, int]:
    """Entities that are right, predicted and true, over pairs of true and predicted tags."""
    right = predicted = true = 0
    for true_tags, predicted_tags in pairs:
        gold, found = entities(true_tags), entities(predicted_tags)
        right += len(gold & found)
        predicted += len(found)
        true += len(gold)
    return right, predicted, true


def f1(right: int, predicted: int, true: int) -> float:
    """F1 (0 ... 1) of counts; 1 where there was nothing to find and nothing was found."""
    return 2 * right / (predicted + true) if predicted + true else 1.0
