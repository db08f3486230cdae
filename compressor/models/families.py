"""The model families: where each keeps its parts, and what its configuration calls them.

Imports nothing heavy. A path is dotted, seen from the backbone (`encoder.layer`) or from one layer
(`attention.self.query`). Adding a BERT-like family is one more `Family`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from operator import attrgetter
from typing import TYPE_CHECKING, Any, cast

from compressor.errors import CheckpointError

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Family:
    """One family: paths of its modules and names of its configuration's attributes."""

    model_type: str  # transformers' name, as `config.json` says
    backbone: str  # attribute of the task model that holds the encoder, e.g. "bert"
    has_token_types: bool

    # seen from the backbone
    embeddings: str = "embeddings"
    projection: str | None = None  # from the embedding size to the hidden size, where a model has one
    layers: str = "encoder.layer"
    pooler: str | None = None  # where a model has one

    # seen from one layer
    query: str = "attention.self.query"
    key: str = "attention.self.key"
    value: str = "attention.self.value"
    attention_dropout: str = "attention.self.dropout"  # of attention probabilities
    attention_output: str = "attention.output.dense"
    attention_output_dropout: str | None = "attention.output.dropout"
    attention_norm: str = "attention.output.LayerNorm"
    feed_forward_in: str = "intermediate.dense"
    activation: str = "intermediate.intermediate_act_fn"
    feed_forward_out: str = "output.dense"
    feed_forward_dropout: str = "output.dropout"
    feed_forward_norm: str = "output.LayerNorm"

    # names in config.json
    layers_key: str = "num_hidden_layers"
    heads_key: str = "num_attention_heads"
    hidden_key: str = "hidden_size"
    intermediate_key: str = "intermediate_size"
    embedding_key: str | None = None  # embedding size, where it may differ from the hidden size

    first_position: int = 0  # number of the first token's position embedding

    # modules of the classification head beside the output layer, [hidden, hidden] each
    classifier_dense: str = "classifier.dense"
    fusion_model_type: str = "bert"  # ONNX Runtime's transformer optimizer

    def layer_count(self, config: Mapping[str, Any]) -> int:
        """Number of encoder layers by a `config.json` mapping."""
        return int(config[self.layers_key])

    def head_count(self, config: Mapping[str, Any]) -> int:
        """Number of attention heads by a `config.json` mapping."""
        return int(config[self.heads_key])

    def hidden_size(self, config: Mapping[str, Any]) -> int:
        """Width of the hidden states by a `config.json` mapping."""
        return int(config[self.hidden_key])

    def intermediate_size(self, config: Mapping[str, Any]) -> int:
        """Width of the feed-forward block by a `config.json` mapping."""
        return int(config[self.intermediate_key])

    def embedding_size(self, config: Mapping[str, Any]) -> int:
        """Width of the embeddings by a `config.json` mapping."""
        return int(config[self.embedding_key]) if self.embedding_key else self.hidden_size(config)

    def longest_input(self, config: Mapping[str, Any]) -> int:
        """Most tokens that the position embeddings reach, by a `config.json` mapping."""
        return int(config["max_position_embeddings"]) - self.first_position

    def backbone_of(self, model: nn.Module) -> nn.Module:
        """The encoder with its embeddings inside a task model."""
        return cast("nn.Module", getattr(model, self.backbone))

    def embedded(self, model: nn.Module) -> nn.Module:
        """The module whose output the first layer of a task model reads."""
        backbone = self.backbone_of(model)
        projection = getattr(backbone, self.projection, None) if self.projection else None
        return cast("nn.Module", getattr(backbone, self.embeddings) if projection is None else projection)

    def reads_segments(self, kinds: int | None) -> bool:
        """Whether `token_type_ids` say anything to a model with this `type_vocab_size` (None: two, as is usual)."""
        return self.has_token_types and (kinds or 2) > 1

    def layers_of(self, model: nn.Module) -> nn.ModuleList:
        """The encoder layers of a task model."""
        return cast("nn.ModuleList", attrgetter(self.layers)(self.backbone_of(model)))


FAMILIES: dict[str, Family] = {
    family.model_type: family
    for family in (
        Family(
            model_type="bert",
            backbone="bert",
            has_token_types=True,
            pooler="pooler",
            classifier_dense="bert.pooler.dense",
        ),
        Family(model_type="roberta", backbone="roberta", has_token_types=True, first_position=2),
        Family(
            model_type="electra",
            backbone="electra",
            has_token_types=True,
            projection="embeddings_project",
            embedding_key="embedding_size",
        ),
        Family(
            model_type="distilbert",
            backbone="distilbert",
            has_token_types=False,
            layers="transformer.layer",
            query="attention.q_lin",
            key="attention.k_lin",
            value="attention.v_lin",
            attention_dropout="attention.dropout",
            attention_output="attention.out_lin",
            attention_output_dropout=None,
            attention_norm="sa_layer_norm",
            feed_forward_in="ffn.lin1",
            activation="ffn.activation",
            feed_forward_out="ffn.lin2",
            feed_forward_dropout="ffn.dropout",
            feed_forward_norm="output_layer_norm",
            layers_key="n_layers",
            heads_key="n_heads",
            hidden_key="dim",
            intermediate_key="hidden_dim",
            classifier_dense="pre_classifier",
        ),
    )
}


def family(model_type: object, where: str = "the checkpoint") -> Family:
    """Look a family up by transformers' `model_type`.

    Raises:
        CheckpointError: The model is not of a BERT-like family; names those that are.
    """
    if not isinstance(model_type, str) or model_type not in FAMILIES:
        known = ", ".join(sorted(FAMILIES))
        raise CheckpointError(
            f"{where} has model_type {model_type!r}, which is not a BERT-like encoder: choose a model of {known}."
        )
    return FAMILIES[model_type]


def base_model_type(config: Mapping[str, Any]) -> object:
    """Transformers' `model_type` behind a `config.json` mapping, also where the checkpoint has one of its own."""
    entry = config.get("compressor")
    if isinstance(entry, Mapping) and "base_model_type" in entry:
        return entry["base_model_type"]
    return config.get("model_type")


def family_of(config: Mapping[str, Any], where: str = "the checkpoint") -> Family:
    """The family of a `config.json` mapping; raises `CheckpointError` as `family` does."""
    return family(base_model_type(config), where)


def family_of_model(model: nn.Module) -> Family:
    """The family of a loaded task model."""
    return family(cast(Any, model).config.model_type)
