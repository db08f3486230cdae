"""What `factorize_embeddings` makes of a model, from `config.json` mappings alone: light enough for `plan`."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from compressor.errors import RequestError
from compressor.models.encoder_size import embedding_width
from compressor.models.ranks import largest_rank, rank_of_ratio
from compressor.models.structure import EmbeddingRank, Structure, with_structure
from compressor.stages.factorize_embeddings.settings import FactorizeEmbeddingsSettings


def shape(config: dict[str, Any], teacher: dict[str, Any], settings: FactorizeEmbeddingsSettings) -> dict[str, Any]:
    """What `config.json` will say after the stage. A rank by `energy` depends on the weights: here it is the largest.

    Raises:
        RequestError: Factors that would be no smaller than the embeddings, or than those that they have already, or
            embeddings whose zeros would be lost.
    """
    words, width = table_size(config)
    if settings.energy is not None:
        rank = min(largest_rank(words, width), width)
    else:
        rank = settings.rank or rank_of_ratio(settings.ratio or 1.0, words, width)
    return with_rank(config, rank)


def table_size(config: Mapping[str, Any]) -> tuple[int, int]:
    """Words, and the width of their embeddings."""
    return int(config["vocab_size"]), embedding_width(config)


def with_rank(config: dict[str, Any], rank: int) -> dict[str, Any]:
    """The `config.json` with a table of this width; errors as `shape`."""
    words, width = table_size(config)
    structure = Structure.from_config(config)
    if structure.sparse is not None and structure.sparse.embeddings:
        raise RequestError(
            "factorize_embeddings: prune_weights has set many numbers of the word embeddings to zero, and a product of "
            "two factors has none of these zeros: put factorize_embeddings in front, or prune with embeddings: false."
        )
    if rank < 1:
        raise RequestError(
            f"factorize_embeddings: so little leaves nothing of embeddings of {words} x {width}: ask more."
        )
    if rank > largest_rank(words, width):
        raise RequestError(
            f"factorize_embeddings: at rank {rank} the factors would be no smaller than the embeddings, which are "
            f"{words} x {width}: take a rank of at most {largest_rank(words, width)}."
        )
    known = structure.embedding_rank
    if known is not None and rank >= known.rank:
        raise RequestError(
            f"factorize_embeddings: the embeddings are factorized at rank {known.rank} already, and {rank} is no less."
        )
    after = dataclasses.replace(structure, embedding_rank=EmbeddingRank(rank=rank))
    return with_structure(config, after)
