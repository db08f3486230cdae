"""Tokenizers made on the spot: WordPiece as BERT has it, byte-level BPE as RoBERTa has it."""

from __future__ import annotations

from typing import Any

import pytest

WORDS = "the cat sat on a mat in oslo and bergen maria lives works who where does live ? . , ##s ##berg holm"


@pytest.fixture(scope="session")
def bert_tokenizer() -> Any:
    """A small uncased WordPiece tokenizer; unknown words fall into letters."""
    from tokenizers import BertWordPieceTokenizer
    from transformers import BertTokenizerFast

    letters = [chr(code) for code in range(ord("a"), ord("z") + 1)]
    pieces = [
        "[PAD]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        "[MASK]",
        *WORDS.split(),
        *letters,
        *(f"##{letter}" for letter in letters),
    ]
    vocabulary = {piece: index for index, piece in enumerate(dict.fromkeys(pieces))}
    backend = BertWordPieceTokenizer(vocab=vocabulary, lowercase=True)
    return BertTokenizerFast(tokenizer_object=backend._tokenizer, model_max_length=64)


@pytest.fixture(scope="session")
def roberta_tokenizer() -> Any:
    """A small byte-level tokenizer with RoBERTa's special tokens; it gives no token_type_ids."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import RobertaTokenizerFast

    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {piece: index for index, piece in enumerate([*special, *alphabet])}
    backend = Tokenizer(models.BPE(vocab=vocabulary, merges=[], unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), add_prefix_space=False)
    return RobertaTokenizerFast(tokenizer_object=backend, model_max_length=64)
