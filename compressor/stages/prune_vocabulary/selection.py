"""Which pieces stay, by how often the texts use them. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from compressor.errors import RequestError
from compressor.stages.prune_vocabulary.pieces import with_makers


def by_frequency(counts: Mapping[str, int], ids: Mapping[str, int]) -> list[str]:
    """Pieces that occur, the most frequent first; among equals the one of the lower id."""
    return sorted((piece for piece in counts if piece in ids), key=lambda piece: (-counts[piece], ids[piece]))


def covering(
    counts: Mapping[str, int],
    ids: Mapping[str, int],
    needed: Iterable[str],
    made_of: Mapping[str, Iterable[str]],
    coverage: float,
) -> set[str]:
    """The needed pieces and the most frequent others, until they are `coverage` of all tokens (Zhao et al. 2019)."""
    kept = with_makers(needed, made_of)
    wanted = coverage * sum(counts.values())
    covered = sum(counts.get(piece, 0) for piece in kept)
    for piece in by_frequency(counts, ids):
        if covered >= wanted:
            break
        new = with_makers([piece], made_of) - kept
        covered += sum(counts.get(one, 0) for one in new)
        kept |= new
    return kept


def of_size(
    counts: Mapping[str, int],
    ids: Mapping[str, int],
    needed: Iterable[str],
    made_of: Mapping[str, Iterable[str]],
    size: int,
) -> set[str]:
    """The needed pieces and as many of the most frequent others as `size` has room for, with all they are made of.

    Raises `RequestError` if the needed ones alone are more.
    """
    kept = with_makers(needed, made_of)
    if len(kept) > size:
        raise RequestError(
            f"prune_vocabulary: size {size} is too small: {len(kept)} pieces must stay (special tokens, single "
            "characters and bytes)."
        )
    for piece in by_frequency(counts, ids):
        new = with_makers([piece], made_of) - kept
        if len(kept) + len(new) <= size:
            kept |= new
    return kept


def listed(
    names: Sequence[str],
    ids: Mapping[str, int],
    needed: Iterable[str],
    made_of: Mapping[str, Iterable[str]],
    where: str,
) -> set[str]:
    """The needed pieces and those of a list; raises `RequestError` for one that the tokenizer does not have."""
    unknown = [name for name in names if name not in ids]
    if unknown:
        raise RequestError(
            f"prune_vocabulary: {where} lists {len(unknown)} pieces that the tokenizer does not have, first "
            f"'{unknown[0]}': list pieces as its vocabulary writes them, one a line."
        )
    return with_makers([*needed, *names], made_of)
