"""How far a sub-model's outputs are from the full model's: a divergence for each kind of output. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import log_softmax, logsigmoid

Direction = Literal["reverse", "forward"]
Kind = Literal["spans", "tokens", "classes", "labels", "numbers"]

_PADDING_LOGIT = -1e4


def mean_divergence(
    sub: Mapping[str, Tensor],
    full: Mapping[str, Tensor],
    names: Sequence[str],
    kind: Kind,
    attention_mask: Tensor,
    direction: Direction,
) -> Tensor:
    """Mean over the outputs `names` of the divergence between a sub-model and the full one; a float32 scalar.

    Args:
        sub: Logits of the sub-model by output name.
        full: Logits of the full model by output name, without gradient.
        names: Outputs to compare, e.g. start and end logits.
        kind: spans [batch, length] are a distribution over real positions; tokens [batch, length, classes] one a real
            token; classes [batch, classes] one an input; labels [batch, labels] one Bernoulli a label. Numbers
            [batch, 1] are none, and are as far apart as their squared difference.
        attention_mask: [batch, length], nonzero for real tokens.
        direction: reverse is KL(sub || full), as the official code has it; forward is KL(full || sub). The same for
            numbers.
    """
    losses = []
    for name in names:
        pair = (sub[name], full[name]) if direction == "reverse" else (full[name], sub[name])
        losses.append(divergence(*pair, kind, attention_mask))
    return torch.stack(losses).mean()


def divergence(p: Tensor, q: Tensor, kind: Kind, attention_mask: Tensor) -> Tensor:
    """KL(p || q) of two outputs given as logits, or (p - q)² of numbers, averaged over inputs (real tokens, labels)."""
    p, q = p.float(), q.float()
    if kind == "numbers":
        return (p - q).square().mean()
    if kind == "labels":
        return (_bernoulli(p, q) + _bernoulli(-p, -q)).mean()
    if kind == "spans":
        padding = attention_mask == 0
        return _categorical(p.masked_fill(padding, _PADDING_LOGIT), q.masked_fill(padding, _PADDING_LOGIT)).mean()
    if kind == "tokens":
        real = (attention_mask != 0).float()
        return (_categorical(p, q) * real).sum() / real.sum().clamp(min=1)
    return _categorical(p, q).mean()


def _categorical(p: Tensor, q: Tensor) -> Tensor:
    log_p, log_q = log_softmax(p, dim=-1), log_softmax(q, dim=-1)
    return (log_p.exp() * (log_p - log_q)).sum(dim=-1)


def _bernoulli(p: Tensor, q: Tensor) -> Tensor:
    """The term of the outcome with logit p: sigmoid(p) * (log sigmoid(p) - log sigmoid(q))."""
    return torch.sigmoid(p) * (logsigmoid(p) - logsigmoid(q))
