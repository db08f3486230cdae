"""What `prune_weights` makes of a model, from `config.json` mappings alone: light enough for `plan`."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from compressor.models.matrices import encoder_matrices, matching
from compressor.models.structure import Sparse, Structure, with_structure
from compressor.stages.distill.matching import match
from compressor.stages.distill.parts import Shape
from compressor.stages.prune_weights.settings import PruneWeightsSettings


def shape(config: dict[str, Any], teacher: dict[str, Any], settings: PruneWeightsSettings) -> dict[str, Any]:
    """What `config.json` will say after the stage.

    Raises:
        RequestError: A pattern that fits no matrix, or losses that these two models cannot have.
    """
    pruned_names(config, settings)
    losses = settings.losses()
    if losses is not None:
        match(losses, Shape.of(config), Shape.of(teacher))
    structure = Structure.from_config(config)
    return with_structure(config, dataclasses.replace(structure, sparse=sparse_after(structure, settings)))


def sparse_after(structure: Structure, settings: PruneWeightsSettings) -> Sparse:
    """What the stage leaves of a model; word embeddings that an earlier pruning reached keep their zeros."""
    before = structure.sparse is not None and structure.sparse.embeddings
    return Sparse(sparsity=settings.sparsity, embeddings=settings.embeddings or before)


def pruned_names(config: Mapping[str, Any], settings: PruneWeightsSettings) -> list[str]:
    """Dotted names of the encoder's linear layers that are pruned; raises `RequestError` as `shape`."""
    return matching(list(encoder_matrices(config)), settings.modules, where="prune_weights: modules")
