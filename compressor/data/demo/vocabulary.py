"""The demo's own WordPiece tokenizer: every word of the templates, and characters for all others."""

from __future__ import annotations

import re
import string
from collections.abc import Iterator
from typing import TYPE_CHECKING

from compressor.data.demo import letters, news, questions, words

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

MAX_TOKENS = 384
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
YEAR_ENDINGS = tuple(f"##{year}" for year in range(40, 100))


def vocabulary() -> dict[str, int]:
    """Pieces and their ids. Surnames and years are of two pieces each, so that words are split as in real text."""
    characters = string.ascii_lowercase + string.digits
    pieces = dict.fromkeys((*SPECIAL, *string.punctuation, *characters, *(f"##{letter}" for letter in characters)))
    pieces |= dict.fromkeys((*(stem.lower() for stem in words.SURNAME_STEMS), "19"))
    pieces |= dict.fromkeys((*(f"##{ending}" for ending in words.SURNAME_ENDINGS), *YEAR_ENDINGS))
    for text in _texts():
        pieces |= dict.fromkeys(re.findall(r"[a-z]+", re.sub(r"{\w*}", " ", text.lower())))
    return {piece: index for index, piece in enumerate(pieces)}


def _texts() -> Iterator[str]:
    for names in words.FIRST_NAMES.values():
        yield from names
    for group in (words.CITIES, words.JOBS, words.MONTHS, words.DAYS, words.COLOURS, words.ANIMALS, words.VEHICLES):
        yield from group
    for group in (words.INSTRUMENTS, words.DISHES, words.SIDES, words.COMPANY_ENDINGS, words.CITY_BODIES):
        yield from group
    for attribute in questions.ATTRIBUTES:
        yield from (*attribute.phrases, *attribute.questions)
    yield from (*questions.FILLERS, "and also with she he")
    for clauses in letters.CLAUSES.values():
        yield from clauses
    yield from (*letters.UNCLEAR, *letters.NOW, *letters.THEN, *letters.FILLERS, "Dear sir or madam, Yours,")
    yield from (*news.CLAUSES, *news.LINKS)


def tokenizer() -> PreTrainedTokenizerFast:
    """A fast BERT tokenizer (lower case) with this vocabulary."""
    from tokenizers import BertWordPieceTokenizer
    from transformers import BertTokenizerFast

    backend = BertWordPieceTokenizer(vocab=vocabulary(), lowercase=True)
    tokenizer: PreTrainedTokenizerFast = BertTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=backend._tokenizer, do_lower_case=True, model_max_length=MAX_TOKENS
    )
    return tokenizer
