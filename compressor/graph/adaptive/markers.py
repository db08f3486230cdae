"""The marker nodes that stand in a traced length-adaptive graph until `expand` completes them.

A marker is a torch function whose `symbolic` is one node of a private domain. Its forward computes only what tracing
needs: outputs of the right shapes.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

DOMAIN = "compressor"
PLAN, ATTEND, RESTORE = "Plan", "Attend", "Restore"
FIRST, MEAN, GATE, END = "First", "Mean", "Gate", "End"


class Plan(torch.autograd.Function):
    """attention_mask [batch, length], keep [layers] -> real [batch, length], origin [rows]; `minimum` and `protect`."""

    @staticmethod
    def forward(ctx: Any, attention_mask: Tensor, keep: Tensor, minimum: int, protect: int) -> tuple[Tensor, Tensor]:
        """Real tokens as 1 and 0, and the number of each row."""
        return attention_mask.float(), torch.arange(attention_mask.numel())

    @staticmethod
    def symbolic(g: Any, attention_mask: Any, keep: Any, minimum: int, protect: int) -> Any:
        """One node; what the layers need of its plan stands in graph values of fixed names."""
        real, origin = g.op(f"{DOMAIN}::{PLAN}", attention_mask, keep, minimum_i=minimum, protect_i=protect, outputs=2)
        real.setType(attention_mask.type().with_dtype(torch.float32))
        origin.setType(attention_mask.type().with_sizes([None]))
        return real, origin


class Attend(torch.autograd.Function):
    """Attention over the rows, then the choice of those that stay.

    query, key, value [rows, width], hidden [rows, hidden], real [batch, length], origin [rows] -> context
    [kept rows, width] and hidden [kept rows, hidden] of the rows that stay, their real [batch, kept] and origin; hidden
    and origin of those that leave. `first`: whether only the first real token's attention makes others significant.
    `limited`: whether `unseen` [batch, length, length] is 1 where a token must not see another (else it is not read).
    """

    @staticmethod
    def forward(
        ctx: Any, query: Tensor, key: Tensor, value: Tensor, hidden: Tensor, real: Tensor, origin: Tensor,
        unseen: Tensor, limited: int, layer: int, heads: int, protect: int, first: int, width: int, hidden_width: int,
    ) -> tuple[Tensor, ...]:  # fmt: skip
        """Everything stays (tracing only)."""
        return query + key + value, hidden.clone(), real.clone(), origin.clone(), hidden[:0].clone(), origin[:0].clone()

    @staticmethod
    def symbolic(
        g: Any, query: Any, key: Any, value: Any, hidden: Any, real: Any, origin: Any,
        unseen: Any, limited: int, layer: int, heads: int, protect: int, first: int, width: int, hidden_width: int,
    ) -> Any:  # fmt: skip
        """One node with all of it."""
        outputs = g.op(
            f"{DOMAIN}::{ATTEND}", query, key, value, hidden, real, origin, unseen, limited_i=limited,
            layer_i=layer, heads_i=heads, protect_i=protect, first_i=first, width_i=width, outputs=6,
        )  # fmt: skip
        attended, rows = (query.type().with_sizes([None, size]) for size in (width, hidden_width))
        indices = origin.type().with_sizes([None])
        for output, kind in zip(
            outputs, (attended, rows, real.type().with_sizes([None, None]), indices, rows, indices), strict=True
        ):
            output.setType(kind)
        return outputs


class Restore(torch.autograd.Function):
    """attention_mask [batch, length], hidden, origin, then pairs of the same that left -> [batch, tokens, hidden]."""

    @staticmethod
    def forward(ctx: Any, attention_mask: Tensor, width: int, hidden: Tensor, *others: Tensor) -> Tensor:
        """The rows by batch."""
        return hidden.reshape(attention_mask.shape[0], -1, hidden.shape[-1])

    @staticmethod
    def symbolic(g: Any, attention_mask: Any, width: int, hidden: Any, *others: Any) -> Any:
        """One node."""
        output = g.op(f"{DOMAIN}::{RESTORE}", attention_mask, hidden, *others)
        output.setType(hidden.type().with_sizes([None, None, width]))
        return output


class First(torch.autograd.Function):
    """hidden [rows, hidden] of a layer, attention_mask [batch, length] -> each text's first token [batch, hidden]."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, attention_mask: Tensor, layer: int) -> Tensor:
        """As if nothing had left."""
        return hidden.reshape(attention_mask.shape[0], -1, hidden.shape[-1])[:, 0].clone()

    @staticmethod
    def symbolic(g: Any, hidden: Any, attention_mask: Any, layer: int) -> Any:
        """One node."""
        output = g.op(f"{DOMAIN}::{FIRST}", hidden, layer_i=layer)
        output.setType(hidden.type())
        return output


class Mean(torch.autograd.Function):
    """hidden [rows, hidden], real [batch, kept] -> the mean of each text's real tokens [batch, hidden]."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, real: Tensor) -> Tensor:
        """As if all were real."""
        return hidden.reshape(real.shape[0], -1, hidden.shape[-1]).mean(dim=1)

    @staticmethod
    def symbolic(g: Any, hidden: Any, real: Any) -> Any:
        """One node."""
        output = g.op(f"{DOMAIN}::{MEAN}", hidden, real)
        output.setType(hidden.type())
        return output


class Gate(torch.autograd.Function):
    """The border behind a layer that may be the last: hidden, whether any row goes on, answer, layers -> hidden."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, going: Tensor, answer: Tensor, blocks: Tensor, layer: int) -> Tensor:
        """The hidden states as they are."""
        return hidden.clone()

    @staticmethod
    def symbolic(g: Any, hidden: Any, going: Any, answer: Any, blocks: Any, layer: int) -> Any:
        """One node."""
        output = g.op(f"{DOMAIN}::{GATE}", hidden, going, answer, blocks, layer_i=layer)
        output.setType(hidden.type())
        return output


class End(torch.autograd.Function):
    """Where the run ends, whichever layer was the last: answer and layers as they then are."""

    @staticmethod
    def forward(ctx: Any, answer: Tensor, blocks: Tensor) -> tuple[Tensor, Tensor]:
        """Both as they are."""
        return answer.clone(), blocks.clone()

    @staticmethod
    def symbolic(g: Any, answer: Any, blocks: Any) -> Any:
        """One node."""
        outputs = g.op(f"{DOMAIN}::{END}", answer, blocks, outputs=2)
        for output, value in zip(outputs, (answer, blocks), strict=True):
            output.setType(value.type())
        return outputs
