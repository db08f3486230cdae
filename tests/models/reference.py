"""A slow, obvious length-adaptive encoder, one row and one token at a time, to hold the real one against."""

from __future__ import annotations

from operator import attrgetter
from typing import Any

import torch

from compressor.models.families import family_of_model


def attention(
    layer: Any, family: Any, states: torch.Tensor, real: list[bool], heads: int, significance: str
) -> tuple[Any, list[float]]:
    """Context [tokens, hidden] and the attention paid to each token by all real ones, or by the first of them."""
    query, key, value = (attrgetter(getattr(family, part))(layer)(states) for part in ("query", "key", "value"))
    tokens, width = query.shape
    size = width // heads
    context, paid = torch.zeros(tokens, width), [0.0] * tokens
    first = real.index(True) if True in real else 0
    counting = [is_real and (significance == "all" or row == first) for row, is_real in enumerate(real)]
    for head in range(heads):
        part = slice(head * size, (head + 1) * size)
        for row in range(tokens):
            scores = [float(query[row, part] @ key[column, part]) / size**0.5 for column in range(tokens)]
            scores = [score if real[column] else -1e30 for column, score in enumerate(scores)]
            probabilities = torch.softmax(torch.tensor(scores), dim=0)
            for column in range(tokens):
                context[row, part] += probabilities[column] * value[column, part]
                paid[column] += float(probabilities[column]) if counting[row] else 0.0
    if significance == "first":
        paid[first] = float("inf")
    return context, paid


@torch.no_grad()
def encode(
    model: Any,
    input_ids: torch.Tensor,
    mask: torch.Tensor,
    counts: list[int],
    *,
    protect_first: bool = False,
    significance: str = "all",
) -> tuple[torch.Tensor, list[list[int]]]:
    """Last computed layer output of every token of one input [length], and the positions kept by each layer."""
    family = family_of_model(model)
    backbone = family.backbone_of(model)
    heads = family.head_count(model.config.to_dict())
    states = backbone.embeddings(input_ids=input_ids[None])
    if family.projection and hasattr(backbone, family.projection):
        states = getattr(backbone, family.projection)(states)
    final = states[0].clone()
    positions, kept = list(range(len(input_ids))), []
    for layer, count in zip(family.layers_of(model), counts, strict=True):
        states = torch.stack([final[position] for position in positions])
        real = [bool(mask[position]) for position in positions]
        context, paid = attention(layer, family, states, real, heads, significance)
        attended = attrgetter(family.attention_norm)(layer)(
            attrgetter(family.attention_output)(layer)(context) + states
        )
        rank = [score if is_real else -1.0 for score, is_real in zip(paid, real, strict=True)]
        if protect_first:
            rank[positions.index(0)] = float("inf")
        best = list(range(len(positions)))
        if count < len(positions):
            best = sorted(best, key=lambda place: -rank[place])[:count]
        for place in best:
            inner = attrgetter(family.activation)(layer)(attrgetter(family.feed_forward_in)(layer)(attended[place]))
            output = attrgetter(family.feed_forward_out)(layer)(inner)
            final[positions[place]] = attrgetter(family.feed_forward_norm)(layer)(output + attended[place])
        positions = [positions[place] for place in best]
        kept.append(list(positions))
    return final, kept
