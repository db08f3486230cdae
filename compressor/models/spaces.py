"""Which space of a model each axis of each of its weights lies in.

A space is where vectors live that several weights read and write: dimensions of it go, or are mapped, everywhere alike.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from torch import Tensor

from compressor.errors import CheckpointError
from compressor.models.families import Family

# the residual stream; what the dense layer of a text head gives; embeddings of a width of their own; queries, keys and
# values of a layer; the inner width of its feed-forward block
STREAM, SUMMARY, EMBEDDING, ATTENTION, FEED_FORWARD = "stream", "summary", "embedding", "attention", "feed_forward"
OUTPUTS = ("qa_outputs", "classifier", "classifier.out_proj")
"""Last layers of the heads."""


class Space(NamedTuple):
    """A kind of space, and the layer that it is inside of (attention, feed_forward); other kinds are there once."""

    kind: str
    layer: int | None = None


Axes = tuple[Space | None, ...]


def axes_of(weights: Mapping[str, Tensor], family: Family) -> dict[str, Axes]:
    """The space of each axis of each weight of a task model, None for words, positions, labels and ranks.

    Raises:
        CheckpointError: A weight that no part of such an encoder has.
    """
    head = Space(SUMMARY) if f"{family.classifier_dense}.weight" in weights else Space(STREAM)
    projected = family.projection is not None and f"{family.backbone}.{family.projection}.weight" in weights
    embedding = Space(EMBEDDING) if projected else Space(STREAM)
    found = {name: _axes(name, tensor, family, head, embedding) for name, tensor in weights.items()}
    table = f"{family.backbone}.{family.embeddings}.word_embeddings."
    if f"{table}projection.weight" in weights:  # factorized
        found |= {f"{table}weight": (None, None), f"{table}projection.weight": (embedding, None)}
    return found


def _axes(name: str, tensor: Tensor, family: Family, head: Space, embedding: Space) -> Axes:
    module, _, kind = name.rpartition(".")
    stream = Space(STREAM)
    inside = module.removeprefix(f"{family.backbone}.")
    if module == family.classifier_dense:
        pair: Axes = (head, stream)
    elif module in OUTPUTS:
        pair = (None, head)
    elif inside == family.projection:
        pair = (stream, embedding)
    elif inside.startswith(f"{family.embeddings}.") and kind in ("weight", "bias"):
        pair = (None, embedding) if tensor.ndim == 2 else (embedding,)
    else:
        found = _of_layer(inside.removeprefix(f"{family.layers}."), family)
        if found is None:
            raise CheckpointError(
                f"the weight '{name}' belongs to no part of a {family.model_type} encoder or its head."
            )
        pair = found
    return pair[: tensor.ndim]


def _of_layer(path: str, family: Family) -> Axes | None:
    number, _, part = path.partition(".")
    if not number.isdigit():
        return None
    stream, attention, inner = Space(STREAM), Space(ATTENTION, int(number)), Space(FEED_FORWARD, int(number))
    known: dict[str, Axes] = {
        family.query: (attention, stream),
        family.key: (attention, stream),
        family.value: (attention, stream),
        family.attention_output: (stream, attention),
        family.feed_forward_in: (inner, stream),
        family.feed_forward_out: (stream, inner),
        family.attention_norm: (stream,),
        family.feed_forward_norm: (stream,),
    }
    return known.get(part)
