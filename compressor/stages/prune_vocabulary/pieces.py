"""What a tokenizer's vocabulary is made of, and what of it cannot go. Pure, on the mapping of a `tokenizer.json`."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from compressor.errors import CheckpointError

Spec = Mapping[str, Any]
"""The mapping of a `tokenizer.json`."""

_BYTE = re.compile(r"<0x[0-9A-Fa-f]{2}>")


def vocabulary(spec: Spec) -> dict[str, int]:
    """Ids by piece, added tokens included.

    Raises `CheckpointError` for a model that is none of WordPiece, BPE, Unigram and WordLevel.
    """
    model = spec["model"]
    kind = model.get("type")
    if kind not in ("WordPiece", "BPE", "Unigram", "WordLevel"):
        raise CheckpointError(
            f"prune_vocabulary: the tokenizer's model is {kind}: only WordPiece, BPE, Unigram and WordLevel can lose "
            "pieces."
        )
    if kind == "Unigram":
        known = {piece: index for index, (piece, _) in enumerate(model["vocab"])}
    else:
        known = dict(model["vocab"])
    return known | {token["content"]: token["id"] for token in spec["added_tokens"]}


def special_pieces(spec: Spec) -> set[str]:
    """Added tokens, the piece for what is unknown, and all that the post-processor puts around a text."""
    model = spec["model"]
    found = {token["content"] for token in spec["added_tokens"]}
    if model.get("unk_token"):
        found.add(model["unk_token"])
    if model.get("unk_id") is not None:
        found.add(model["vocab"][model["unk_id"]][0])
    if spec.get("padding"):
        found.add(spec["padding"]["pad_token"])
    return found | set(_around(spec.get("post_processor") or {}))


def fallback_pieces(spec: Spec) -> set[str]:
    """Single characters and bytes: what the tokenizer falls back to where a longer piece is gone."""
    model = spec["model"]
    prefix, suffix = model.get("continuing_subword_prefix") or "", model.get("end_of_word_suffix") or ""
    return {
        piece
        for piece in vocabulary(spec)
        if len(piece.removeprefix(prefix).removesuffix(suffix)) <= 1 or _BYTE.fullmatch(piece)
    }


def makers(spec: Spec) -> dict[str, set[str]]:
    """For each piece of a BPE vocabulary the pieces that some merge makes it of; nothing for other models."""
    found: dict[str, set[str]] = defaultdict(set)
    for first, second in merges(spec):
        found[joined(spec, first, second)] |= {first, second}
    return found


def merges(spec: Spec) -> list[tuple[str, str]]:
    """The merges of a BPE model in the order of their rank; none for other models."""
    found: list[tuple[str, str]] = []
    for pair in spec["model"].get("merges") or []:
        first, second = pair.split(" ") if isinstance(pair, str) else pair
        found.append((first, second))
    return found


def joined(spec: Spec, first: str, second: str) -> str:
    """The piece that a merge of two pieces gives."""
    return first + second.removeprefix(spec["model"].get("continuing_subword_prefix") or "")


def with_makers(pieces: Iterable[str], made_of: Mapping[str, Iterable[str]]) -> set[str]:
    """Pieces with all that they are merged from, down to the characters.

    Every merge that made a piece of a text joins two pieces of this set, so that the text is cut as before.
    """
    found: set[str] = set()
    waiting = list(pieces)
    while waiting:
        piece = waiting.pop()
        if piece not in found:
            found.add(piece)
            waiting += made_of.get(piece, ())
    return found


def _around(processor: Mapping[str, Any]) -> Iterable[str]:
    for part in processor.get("processors") or ():
        yield from _around(part)
    for token in (processor.get("special_tokens") or {}).values():
        yield from token["tokens"]
    for name in ("cls", "sep"):
        if isinstance(processor.get(name), (list, tuple)):
            yield str(processor[name][0])
