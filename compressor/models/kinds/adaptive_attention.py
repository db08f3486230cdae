"""Self-attention of one layer together with the choice of the tokens that stay.

Kim & Cho 2020 (Length-Adaptive Transformer), after PoWER-BERT: the significance of a token is the attention paid to
it, summed over heads and over the queries that are real tokens; or, much cheaper, only the attention that the first
real token ([CLS]) pays to it. (The exported graph computes the same with operators of its own, see `graph/adaptive`.)
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import dropout as drop_out
from torch.nn.functional import scaled_dot_product_attention

from compressor.models.structure import Significance


def adaptive_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    count: int | None,
    *,
    heads: int,
    significance: Significance = "all",
    protect_first: bool = False,
    dropout: float = 0.0,
    paid: list[Tensor] | None = None,
    apart: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Order the positions by significance, and attend from those that stay.

    Args:
        query: [batch, length, heads * head_size].
        key: The same shape.
        value: The same shape.
        attention_mask: [batch, length], nonzero for real tokens; None: all are real.
        count: Tokens that stay, the first `count` of the order. None: all of them, then the order is 0, 1, 2 ... and
            no significance is computed (fast).
        heads: Number of attention heads.
        significance: Whose attention counts. With "first", the first real token itself comes before all others.
        protect_first: Put the first position before all others.
        dropout: Probability of dropping an attention probability (training). Significance is taken before it.
        paid: Given: with "first", gets what the first real token pays to each, the mean over heads, float32
            [batch, length], with its gradient. (The order itself has none.)
        apart: [batch, length, length], nonzero where a token must not see another; None: all see all.

    Returns:
        The context of the tokens that stay, in order, [batch, count, heads * head_size], and the order
        [batch, length], int64: positions by falling significance, equal ones in their present order, padding behind
        every real token.
    """
    batch, length, width = query.shape
    query, key, value = (_split_heads(states, heads) for states in (query, key, value))
    scale = (width // heads) ** -0.5
    bias = _additive_mask(attention_mask, apart, query.dtype)
    if count is None:
        order = torch.arange(length, device=query.device).expand(batch, length)
        context = scaled_dot_product_attention(query, key, value, attn_mask=bias, dropout_p=dropout)
    elif significance == "first" or _has_fused_training(query):
        if significance == "first":
            first = _first(query, attention_mask)
            with torch.set_grad_enabled(paid is not None and torch.is_grad_enabled()):
                received = _paid(query, key, first, bias, scale)
            if paid is not None:
                paid.append(received / heads)
            order = _order_by_first(received.detach(), first, attention_mask, protect_first)
        else:
            with torch.no_grad():
                order = _order(_probabilities(query, key, bias, scale), attention_mask, protect_first)
        context = scaled_dot_product_attention(
            _take(query, order[:, :count]), key, value, attn_mask=bias, dropout_p=dropout
        )
    else:
        probabilities = _probabilities(query, key, bias, scale)
        order = _order(probabilities, attention_mask, protect_first)
        context = drop_out(probabilities, dropout, training=dropout > 0).to(value.dtype) @ value
        context = _take(context, order[:, :count])
    return context.transpose(1, 2).reshape(batch, -1, width), order


def _has_fused_training(query: Tensor) -> bool:
    """Whether training runs a fused kernel, which keeps no probabilities: computing them once more is then cheaper."""
    return query.is_cuda and torch.is_grad_enabled()


def significance(probabilities: Tensor, attention_mask: Tensor | None) -> Tensor:
    """Attention paid to each token: [batch, heads, length, length] to float32 [batch, length].

    Column sums over heads and over real queries, as one product with a row of ones and zeros. Never part of the
    gradient, and never in half precision.
    """
    batch, heads, length, _ = probabilities.shape
    with torch.no_grad(), torch.autocast(probabilities.device.type, enabled=False):
        rows = probabilities.detach().float().reshape(batch, heads * length, length)
        if attention_mask is None:
            return rows.sum(dim=1)
        real = attention_mask.to(torch.float32)[:, None, :].expand(batch, heads, length)
        return torch.bmm(real.reshape(batch, 1, heads * length), rows).squeeze(1)


def _order(probabilities: Tensor, attention_mask: Tensor | None, protect_first: bool) -> Tensor:
    return _sorted(significance(probabilities, attention_mask), attention_mask, protect_first)


def _first(query: Tensor, attention_mask: Tensor | None) -> Tensor:
    """Position of the first real token of each text, [batch, 1]."""
    if attention_mask is None:
        return torch.zeros(query.shape[0], 1, dtype=torch.long, device=query.device)
    return (attention_mask != 0).to(torch.uint8).argmax(dim=1, keepdim=True)


def _paid(query: Tensor, key: Tensor, first: Tensor, bias: Tensor | None, scale: float) -> Tensor:
    """The attention that the first real token pays to each, summed over heads, [batch, length]."""
    return _probabilities(_take(query, first), key, bias, scale).sum(dim=(1, 2))


def _order_by_first(paid: Tensor, first: Tensor, attention_mask: Tensor | None, protect_first: bool) -> Tensor:
    """The order by what the first real token pays; that token comes first."""
    return _sorted(paid.scatter(1, first, torch.inf), attention_mask, protect_first)


def _sorted(scores: Tensor, attention_mask: Tensor | None, protect_first: bool) -> Tensor:
    if attention_mask is not None:
        scores = scores.masked_fill(attention_mask == 0, -1.0)
    if protect_first:
        scores = torch.cat([torch.full_like(scores[:, :1], torch.inf), scores[:, 1:]], dim=1)
    return torch.argsort(scores, dim=1, descending=True, stable=True)


def _take(states: Tensor, positions: Tensor) -> Tensor:
    """[batch, heads, length, size] at positions [batch, k] of each text: [batch, heads, k, size]."""
    index = positions[:, None, :, None].expand(-1, states.shape[1], -1, states.shape[3])
    return states.gather(2, index)


def _probabilities(query: Tensor, key: Tensor, bias: Tensor | None, scale: float) -> Tensor:
    scores = (query * scale) @ key.transpose(-1, -2)
    if bias is not None:
        scores = scores + bias
    return torch.softmax(scores, dim=-1, dtype=torch.float32)


def _split_heads(states: Tensor, heads: int) -> Tensor:
    batch, length, width = states.shape
    return states.view(batch, length, heads, width // heads).transpose(1, 2)


def _additive_mask(attention_mask: Tensor | None, apart: Tensor | None, dtype: torch.dtype) -> Tensor | None:
    """0 where a token is seen, the lowest number where it is not (not -inf: a row may see nothing).

    [batch, 1, 1, length], for padding; with `apart` [batch, 1, length, length].
    """
    unseen = None if attention_mask is None else attention_mask[:, None, None, :] == 0
    if apart is not None:
        others = apart[:, None] != 0
        unseen = others if unseen is None else unseen | others
    if unseen is None:
        return None
    return torch.zeros_like(unseen, dtype=dtype).masked_fill(unseen, torch.finfo(dtype).min)
