"""Which channels of activations are brought down, and where their ranges start: at what calibration examples show."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from compressor.models.loud_channels import factors
from compressor.stages.context import StageContext
from compressor.tasks.base import Feature
from compressor.training.layer_inputs import watch_inputs

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_MOST = 65_536
"""Numbers of one example that a percentile is taken of; of longer ones every n-th token counts."""


def percentiles(states: Tensor, percentile: float) -> tuple[float, float]:
    """Both ends between which the numbers of `states` [..., width] lie, but for 100 - `percentile` of 100 at each."""
    rows = states.detach().reshape(-1, states.shape[-1]).float()
    numbers = rows[:: max(1, -(-rows.numel() // _MOST))].flatten()
    ends = torch.tensor([1 - percentile / 100, percentile / 100], device=numbers.device)
    low, high = torch.quantile(numbers, ends).tolist()
    return low, high


def quieting(
    model: nn.Module, layers: Sequence[nn.Linear], features: Sequence[Feature], tokenizer: PreTrainedTokenizerBase,
    context: StageContext,
) -> list[Tensor]:  # fmt: skip
    """By what each channel of each layer's inputs is divided [in], over examples that run one by one."""
    loudness = [torch.zeros(layer.in_features) for layer in layers]

    def see(place: int, states: Tensor) -> None:
        torch.maximum(loudness[place], states.abs().flatten(0, -2).amax(0).float().cpu(), out=loudness[place])

    watch_inputs(model, layers, see, features, tokenizer, context, title="qat: loud channels")
    found = [factors(loud.numpy()) for loud in loudness]
    return [
        torch.ones_like(loud) if factor is None else torch.from_numpy(factor)
        for loud, factor in zip(loudness, found, strict=True)
    ]


def input_ranges(
    model: nn.Module, layers: Sequence[nn.Module], features: Sequence[Feature], percentile: float,
    tokenizer: PreTrainedTokenizerBase, context: StageContext, dividers: Sequence[Tensor] | None = None,
) -> list[tuple[float, float]]:  # fmt: skip
    """The smallest low and the largest high end of each layer's inputs, over examples that run one by one.

    `dividers`: by what each input's channels are divided before, [in] a layer.
    """
    found = [(0.0, 0.0)] * len(layers)

    def see(place: int, states: Tensor) -> None:
        low, high = percentiles(states if dividers is None else states / dividers[place].to(states.device), percentile)
        found[place] = min(found[place][0], low), max(found[place][1], high)

    watch_inputs(model, layers, see, features, tokenizer, context, title="qat: ranges")
    return found
