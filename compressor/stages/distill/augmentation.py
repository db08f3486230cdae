"""More texts to learn the teacher's answers from, made of those that are there: no labels, no language model.

Tang et al. 2019, section 3.2: words are masked, words are replaced by others of the data (there by others of the same
part of speech, here by any, drawn as often as they occur), and a text is cut to an n-gram of it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from random import Random

from compressor.stages.distill.settings import AugmentSettings
from compressor.tasks.examples import Example, QuestionExample, Text, TextExample, TokenExample


def augmented(examples: Sequence[Example], settings: AugmentSettings, mask: str, seed: int) -> list[Example]:
    """`settings.copies` changed copies of every example, unlabelled; copies that changed nothing are left out.

    Args:
        examples: The data to change.
        settings: How much of it.
        mask: The tokenizer's mask token; "" where it has none, so that no word is masked.
        seed: What is drawn depends on it alone.
    """
    words = [word for example in examples for part in _parts(example) for word in part]
    random = Random(f"{seed}/augment")
    found: list[Example] = []
    for example in examples:
        for _ in range(settings.copies):
            parts = [_changed(part, words, settings, mask, random) for part in _parts(example)]
            if random.random() < settings.ngram and not isinstance(example, QuestionExample):
                parts = _cut(parts, settings.longest_ngram, random)
            if parts != _parts(example):
                found.append(_with_parts(example, parts))
    return found


def _parts(example: Example) -> list[list[str]]:
    """The words of what may change: of a question the question alone, since its context has to hold the answer."""
    if isinstance(example, QuestionExample):
        return [example.question.split()]
    if isinstance(example, Text):
        return [example.text.split(), *([example.pair.split()] if example.pair else [])]
    return [list(example.words)]


def _changed(
    words: Sequence[str], others: Sequence[str], settings: AugmentSettings, mask: str, random: Random
) -> list[str]:
    found = []
    for word in words:
        draw = random.random()
        if draw < settings.mask and mask:
            found.append(mask)
        elif settings.mask <= draw < settings.mask + settings.replace:
            found.append(random.choice(others))
        else:
            found.append(word)
    return found


def _cut(parts: list[list[str]], longest: int, random: Random) -> list[list[str]]:
    """One part cut to an n-gram of it, n drawn from 1 to `longest`."""
    chosen = random.randrange(len(parts))
    words = parts[chosen]
    size = min(random.randint(1, longest), len(words))
    first = random.randint(0, len(words) - size)
    return [words[first : first + size] if index == chosen else part for index, part in enumerate(parts)]


def _with_parts(example: Example, parts: list[list[str]]) -> Example:
    texts = [" ".join(part) for part in parts]
    if isinstance(example, QuestionExample):
        return dataclasses.replace(example, question=texts[0], answers=())
    if isinstance(example, Text):
        changed = dataclasses.replace(example, text=texts[0], pair=texts[1] if len(texts) > 1 else example.pair)
        return dataclasses.replace(changed, labels=()) if isinstance(changed, TextExample) else changed
    return TokenExample(tuple(parts[0]))
