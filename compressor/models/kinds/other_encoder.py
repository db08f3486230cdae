"""Students whose encoder is no transformer: embeddings, heads and names around it stay the stock model's own.

An encoder is a module that turns states [batch, length, embedding] and a mask [batch, length] into states [batch,
length, hidden]. With `summary` the one at position 0, which heads for whole texts read, sums the text up. Padding
stands behind the real tokens and changes no row's answer.
"""

from __future__ import annotations

import copy
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar, cast

import torch
from torch import Tensor, nn
from transformers.modeling_outputs import BaseModelOutputWithPooling

from compressor.models.families import Family, family_of_model

if TYPE_CHECKING:
    from transformers import PretrainedConfig

Model = TypeVar("Model", bound=nn.Module)


class OtherEncoder(nn.Module):
    """Mixed into a stock backbone: its embeddings and pooler around an encoder of another kind."""

    family: Family

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        **_: Any,
    ) -> BaseModelOutputWithPooling:
        """States [batch, length, hidden] and, where the family has a pooler, what it makes of position 0."""
        family = self.family
        extra = {"token_type_ids": token_type_ids} if family.has_token_types else {}
        states = getattr(self, family.embeddings)(input_ids=input_ids, **extra)
        if family.projection and hasattr(self, family.projection):
            states = getattr(self, family.projection)(states)
        mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        states = getattr(self, encoder_name(family))(states, mask)
        pooler = getattr(self, family.pooler, None) if family.pooler else None
        return BaseModelOutputWithPooling(
            last_hidden_state=states, pooler_output=None if pooler is None else pooler(states)
        )


def encoder_name(family: Family) -> str:
    """The backbone's attribute that holds its layers."""
    return family.layers.partition(".")[0]


def replace_encoder(model: Model, encoder: nn.Module, embedding_size: int | None) -> Model:
    """Put an encoder in the place of a stock model's layers, and embeddings of another width before it; in place."""
    family = family_of_model(model)
    backbone: Any = family.backbone_of(model)
    if embedding_size is not None:
        narrow = copy.deepcopy(backbone.config)
        setattr(narrow, family.hidden_key, embedding_size)
        embeddings: nn.Module = type(getattr(backbone, family.embeddings))(narrow)
        embeddings.apply(cast(Any, model)._init_weights)
        setattr(backbone, family.embeddings, embeddings)
    setattr(backbone, encoder_name(family), encoder)
    backbone.__class__ = _with_other_encoder(cast(Any, type(backbone)))
    backbone.family = family
    return model


def encoder_width(model: nn.Module, embedding_size: int | None) -> tuple[int, int]:
    """Width of what an encoder reads and of what it gives."""
    family = family_of_model(model)
    hidden = family.hidden_size(cast(Any, model).config.to_dict())
    return embedding_size or hidden, hidden


def dropout_of(config: PretrainedConfig) -> float:
    """The stock model's dropout of hidden states."""
    values = config.to_dict()
    return float(values.get("hidden_dropout_prob", values.get("dropout", 0.0)))


def with_summary(states: Tensor, summary: Tensor) -> Tensor:
    """States [batch, length, hidden] with a summary [batch, hidden] at position 0."""
    return torch.cat([summary.unsqueeze(1), states[:, 1:]], dim=1)


@cache
def _with_other_encoder(backbone: type) -> type:
    return type(f"OtherEncoder{backbone.__name__}", (OtherEncoder, backbone), {})
