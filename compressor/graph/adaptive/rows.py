"""The encoder as it is traced for export: tokens of all texts as flat rows, one marker a layer.

It computes what `models.kinds.length_adaptive` computes, in an order that a graph runs faster: rows instead of batches
(a plain matrix product with its bias), and the choice of tokens before the output projection instead of after the
residual, which is the same for the rows that stay and saves the work for those that leave.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from operator import attrgetter
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn
from torch.autograd import Function
from transformers.modeling_outputs import BaseModelOutputWithPooling

from compressor.graph.adaptive.markers import Attend, End, First, Gate, Mean, Plan, Restore
from compressor.models.families import Family, family_of_model
from compressor.models.kinds.adaptive_depth import AdaptiveDepthModel, Run
from compressor.models.kinds.length_adaptive import embed
from compressor.models.kinds.two_texts import apart, is_second
from compressor.models.kinds.widths import model_widths

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from compressor.models.structure import LengthAdaptive, SplitLayers


@contextmanager
def traced_in_rows(model: PreTrainedModel) -> Iterator[None]:
    """Let an adaptive model run as rows with markers (for tracing only; its outputs are no result).

    A model with exits then takes its dial as `setting`, and `keep` only if it is length-adaptive.
    """
    family = family_of_model(model)
    backbone = cast(Any, family.backbone_of(model))
    settings: LengthAdaptive = backbone.length_adaptive
    split: SplitLayers | None = getattr(backbone, "split_layers", None)
    width, widths = family.hidden_size(model.config.to_dict()), model_widths(model)

    dial: list[Tensor] = []
    runs: list[Run] = []

    def depth_forward(
        input_ids: Tensor,
        attention_mask: Tensor,
        token_type_ids: Tensor | None = None,
        keep: Tensor | None = None,
        setting: Tensor | None = None,
    ) -> Any:
        adaptive = cast(AdaptiveDepthModel, model)
        dial[:] = [torch.ones(len(settings.keep)) if keep is None else keep]
        runs[:] = [Run(adaptive, adaptive.adaptive_depth.setting if setting is None else setting)]
        extra = {"token_type_ids": token_type_ids} if family.has_token_types else {}
        forward(input_ids=input_ids, attention_mask=attention_mask, **extra)
        runs[0].answer, blocks = _apply(End, runs[0].answer, runs[0].blocks_run)
        return {"logits": runs[0].logits(), "blocks_run": blocks.squeeze(-1)}

    def task_forward(
        input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor | None = None, keep: Tensor | None = None
    ) -> Any:  # the exporter passes every argument by position, so there are no others
        dial[:] = [torch.ones(len(settings.keep)) if keep is None else keep]
        extra = {"token_type_ids": token_type_ids} if family.has_token_types else {}
        stock: Any = cast(Any, model).stock_class
        return stock.forward(model, input_ids=input_ids, attention_mask=attention_mask, **extra)

    def forward(input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor | None = None, **_: Any) -> Any:
        states = embed(backbone, family, input_ids, token_type_ids)
        unseen = None if split is None else apart(is_second(input_ids, cast(Any, model).config.sep_token_id))
        protect = int(settings.protect_first)
        real, origin = _apply(Plan, attention_mask, dial[0], settings.minimum, protect)
        hidden = states.reshape(-1, states.shape[-1])
        left: list[Tensor] = []
        answering = -1 if settings.restore else len(settings.keep) - 1  # the layer of which only first tokens are read
        for index, layer in enumerate(attrgetter(family.layers)(backbone)):
            at = widths[index]
            shape = (index, at.heads, protect, int(settings.significance == "first"), at.attention, width)
            mask = attention_mask if index == answering else None
            others = unseen if split is not None and index < split.layers else None
            hidden, real, origin, *leaving = _run_layer(layer, family, hidden, real, origin, shape, mask, others)
            left += leaving
            if runs and index in runs[0].answering:
                summary = hidden if index == answering else _summary(runs[0], index, hidden, real, attention_mask)
                hidden = _watch(runs[0], index, hidden, summary)
        back = (origin, *left) if settings.restore else ()
        last = _apply(Restore, attention_mask, width, hidden, *back)
        pooler = getattr(backbone, family.pooler, None) if family.pooler else None
        return BaseModelOutputWithPooling(
            last_hidden_state=last, pooler_output=pooler(last) if pooler is not None else None
        )

    stops = isinstance(model, AdaptiveDepthModel)
    backbone.forward, cast(Any, model).forward = forward, depth_forward if stops else task_forward
    try:
        yield
    finally:
        del backbone.forward, cast(Any, model).forward


def _apply(marker: type[Function], *arguments: Any) -> Any:
    return cast(Any, marker).apply(*arguments)


def _summary(run: Run, layer: int, hidden: Tensor, real: Tensor, attention_mask: Tensor) -> Tensor:
    """What the layer's exit reads, [batch, hidden]."""
    if run.model.reads_mean(layer):
        return cast(Tensor, _apply(Mean, hidden, real))
    return cast(Tensor, _apply(First, hidden, attention_mask, layer))


def _watch(run: Run, layer: int, hidden: Tensor, summary: Tensor) -> Tensor:
    """Let the layer's exit hear the texts; what the next layer reads."""
    more = run.watch(layer, summary)
    if layer == run.answering[-1]:
        return hidden
    return cast(Tensor, _apply(Gate, hidden, more, run.answer, run.blocks_run, run.answering.index(layer)))


def _run_layer(
    layer: nn.Module,
    family: Family,
    hidden: Tensor,
    real: Tensor,
    origin: Tensor,
    shape: tuple[int, ...],
    mask: Tensor | None,
    unseen: Tensor | None,
) -> list[Tensor]:
    """One layer: hidden, real, origin of the rows that stay, then hidden and origin of those that leave.

    With `mask`, the attention mask, only each text's first row goes on after the attention. With `unseen` [batch,
    length, length] tokens do not see those for which it is 1.
    """

    def part(path: str) -> Any:
        return attrgetter(path)(layer)

    query, key, value = (part(path)(hidden) for path in (family.query, family.key, family.value))
    limits = (real, 0) if unseen is None else (unseen, 1)
    context, residual, real, origin, left, left_origin = _apply(
        Attend, query, key, value, hidden, real, origin, *limits, *shape
    )
    if mask is not None:
        context, residual = (_apply(First, rows, mask, shape[0]) for rows in (context, residual))
    attended = part(family.attention_norm)(part(family.attention_output)(context) + residual)
    inner = part(family.activation)(part(family.feed_forward_in)(attended))
    output = part(family.feed_forward_norm)(part(family.feed_forward_out)(inner) + attended)
    return [output, real, origin, left, left_origin]
