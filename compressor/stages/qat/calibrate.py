"""Where the ranges of activations start: at what calibration examples show."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from compressor.models.length_adaptive import whole_inputs
from compressor.stages.context import StageContext
from compressor.tasks.base import Feature
from compressor.training import collate

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


@torch.no_grad()
def input_ranges(
    model: nn.Module, layers: Sequence[nn.Module], features: Sequence[Feature], percentile: float,
    tokenizer: PreTrainedTokenizerBase, context: StageContext,
) -> list[tuple[float, float]]:  # fmt: skip
    """The smallest low and the largest high end of each layer's inputs, over examples that run one by one."""
    found = [(0.0, 0.0)] * len(layers)

    def watch(place: int) -> Any:
        def seen(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            low, high = percentiles(inputs[0], percentile)
            found[place] = min(found[place][0], low), max(found[place][1], high)

        return seen

    hooks = [layer.register_forward_pre_hook(watch(place)) for place, layer in enumerate(layers)]
    try:
        with context.progress.bar("qat: ranges", len(features)) as bar:
            for feature in features:
                inputs, _ = collate([feature], tokenizer, context.task)
                model(**whole_inputs(model, inputs))
                bar.advance()
    finally:
        for hook in hooks:
            hook.remove()
    return found
