"""Where the ranges of activations start: at what calibration examples show."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

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


def input_ranges(
    model: nn.Module, layers: Sequence[nn.Module], features: Sequence[Feature], percentile: float,
    tokenizer: PreTrainedTokenizerBase, context: StageContext,
) -> list[tuple[float, float]]:  # fmt: skip
    """The smallest low and the largest high end of each layer's inputs, over examples that run one by one."""
    found = [(0.0, 0.0)] * len(layers)

    def see(place: int, states: Tensor) -> None:
        low, high = percentiles(states, percentile)
        found[place] = min(found[place][0], low), max(found[place][1], high)

    watch_inputs(model, layers, see, features, tokenizer, context, title="qat: ranges")
    return found
