"""How often the pieces of a tokenizer occur in texts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

from tokenizers import Tokenizer

from compressor.tasks.examples import Example, QuestionExample, Text

_CHUNK = 1000


def texts_of(examples: Iterable[Example]) -> Iterator[str]:
    """The texts of examples as the tasks hand them to a tokenizer."""
    for example in examples:
        if isinstance(example, QuestionExample):
            yield from (example.question.strip(), example.context)
        elif isinstance(example, Text):
            yield from (part for part in (example.text, example.pair) if part)
        else:
            yield " ".join(example.words)


def count_pieces(tokenizer: Tokenizer, texts: Iterable[str]) -> Counter[str]:
    """Occurrences by piece, without special tokens; nothing is cut."""
    whole = Tokenizer.from_str(tokenizer.to_str())
    whole.no_truncation()
    whole.no_padding()
    counts: Counter[str] = Counter()
    waiting = iter(texts)
    while chunk := list(islice(waiting, _CHUNK)):
        for encoding in whole.encode_batch(chunk, add_special_tokens=False):
            counts.update(encoding.tokens)
    return counts


def coverage_of(counts: Counter[str], pieces: Sequence[str] | set[str]) -> float:
    """Share of the tokens that are among `pieces`; 1.0 where there are none."""
    total = counts.total()
    return sum(counts[piece] for piece in pieces) / total if total else 1.0
