"""Encoders whose lower layers keep the two texts of an input apart (DeFormer, Cao et al. 2020).

There a passage does not depend on the question, so that its states can be computed in advance. Modules and parameters
are the stock model's own; attention in the lower layers reads one text, and the second text's positions begin at a
fixed place.
"""

from __future__ import annotations

from functools import cache
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, nn

from compressor.errors import CheckpointError
from compressor.models.families import Family, family_of_model
from compressor.models.kinds.length_adaptive import LengthAdaptiveModel, make_whole
from compressor.models.kinds.two_texts import is_second, positions
from compressor.models.structure import SplitLayers

Model = TypeVar("Model", bound=nn.Module)


def make_split_layers(model: Model, settings: SplitLayers) -> Model:
    """Keep two texts apart in the lowest layers of a task model, in place.

    Raises:
        CheckpointError: The model has no more layers than that, or its config has no separator.
    """
    family = family_of_model(model)
    layers, config = len(family.layers_of(model)), cast(Any, model).config
    if settings.layers >= layers:
        raise CheckpointError(
            f"split_layers keeps texts apart in {settings.layers} layers, but the model has {layers}."
        )
    if config.sep_token_id is None:
        raise CheckpointError("split_layers needs 'sep_token_id' in config.json: where the first text ends.")
    if not isinstance(model, LengthAdaptiveModel):
        make_whole(model, restore=not type(model).__name__.endswith("ForSequenceClassification"))
    backbone: Any = family.backbone_of(model)
    embeddings: Any = getattr(backbone, family.embeddings)
    if not isinstance(embeddings, PlacedEmbeddings):
        embeddings.__class__ = _subclass(cast(Any, type(embeddings)))
    embeddings.family, embeddings.placing = family, (settings.second_position, config.sep_token_id, config.pad_token_id)
    backbone.split_layers = settings
    cast(Any, model).split_layers = settings
    return model


class PlacedEmbeddings(nn.Module):
    """Mixed into stock embeddings: the second text's positions begin at a fixed place."""

    family: Family
    placing: tuple[int, int, int]  # where, the separator and the padding token

    def forward(self, input_ids: Tensor, token_type_ids: Tensor | None = None) -> Tensor:
        """States [batch, length, embedding size]; `token_type_ids` [batch, length] for families that have them."""
        parts = cast(Any, self)
        start, separator, padding = self.placing
        places = positions(
            input_ids,
            is_second(input_ids, separator),
            start=start,
            first=padding + 1 if self.family.first_position else 0,
            most=parts.position_embeddings.num_embeddings,
            padding=padding,
        )
        states = parts.word_embeddings(input_ids) + parts.position_embeddings(places)
        if self.family.has_token_types:
            kinds = torch.zeros_like(input_ids) if token_type_ids is None else token_type_ids
            states = states + parts.token_type_embeddings(kinds)
        return cast(Tensor, parts.dropout(parts.LayerNorm(states)))


@cache
def _subclass(stock: Any) -> Any:
    return type(f"Placed{stock.__name__}", (PlacedEmbeddings, stock), {})
