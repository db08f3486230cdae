"""The stage `factorize_embeddings`: word embeddings as [words, rank] x [rank, width] (ALBERT, Lan et al. 2020, 3.1).

ALBERT trains such embeddings from the start; here they begin as the best product by singular values, each word counted
as often as the training texts use it. Nothing is trained: put `distill` or `finetune` behind it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor

from compressor.models import checkpoint as checkpoints
from compressor.models.factors import rank_of_energy
from compressor.models.kinds.low_rank import FactorizedEmbedding, make_embedding_rank, word_embeddings
from compressor.models.structure import EmbeddingRank, Structure
from compressor.stages.context import Checkpoint, StageContext
from compressor.stages.factorize_embeddings.settings import FactorizeEmbeddingsSettings
from compressor.stages.factorize_embeddings.shape import shape, with_rank
from compressor.tasks.base import Feature


def run(source: Checkpoint, settings: FactorizeEmbeddingsSettings, context: StageContext) -> Checkpoint:
    """Write the checkpoint with factorized word embeddings.

    Raises:
        RequestError: Factors that would be no smaller than what is there.
        CheckpointError: The checkpoint cannot be loaded for the task.
    """
    config = checkpoints.read_config(source.path)
    after = shape(config, {}, settings)
    model = checkpoints.load(source.path, context.task)
    tokenizer = checkpoints.load_tokenizer(source.path)
    table = whole_table(word_embeddings(model))
    counts = torch.zeros(len(table))
    if settings.weighting == "frequency":
        counts = word_counts(context.task.features(context.data.train, tokenizer, labelled=True), len(table))
    values, directions = principal_directions(table, counts)
    if settings.energy is not None:
        after = with_rank(config, rank_of_energy(values, settings.energy))
    rank = cast(EmbeddingRank, Structure.from_config(after).embedding_rank)
    make_embedding_rank(model, rank)
    new: Any = word_embeddings(model)
    with torch.no_grad():
        new.projection.weight.copy_(directions[:, : rank.rank])
        new.weight.copy_(table @ directions[:, : rank.rank])
    checkpoints.save(model, tokenizer, context.output)
    return Checkpoint(context.output, source.key)


@torch.no_grad()
def whole_table(embedding: torch.nn.Embedding) -> Tensor:
    """The embeddings [words, width], multiplied out where they are factorized."""
    if isinstance(embedding, FactorizedEmbedding):
        return cast(Tensor, embedding.projection(embedding.weight))
    return embedding.weight.detach()


def word_counts(features: Sequence[Feature], words: int) -> Tensor:
    """How often each word id stands in the inputs, float32 [words]."""
    counts = torch.zeros(words, dtype=torch.long)
    for feature in features:
        counts += torch.bincount(torch.tensor(feature.inputs["input_ids"]), minlength=words)
    return counts.float()


def principal_directions(table: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:
    """Singular values [k] and right vectors [width, k] of the embeddings, each word as often as it is used, plus once.

    Projecting the rows of the table on the first of them leaves the least squared error summed over all uses.
    """
    weights = (counts + 1).sqrt().double()
    _, values, right = torch.linalg.svd(weights[:, None] * table.double(), full_matrices=False)
    return values, right.T.float()
