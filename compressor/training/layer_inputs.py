"""What goes into chosen layers of a model while it reads examples."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from compressor.models.kinds.length_adaptive import whole_inputs
from compressor.tasks.base import Feature
from compressor.training.batches import collate

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from compressor.stages.context import StageContext


@torch.no_grad()
def watch_inputs(
    model: nn.Module, layers: Sequence[nn.Module], see: Callable[[int, Tensor], object], features: Sequence[Feature],
    tokenizer: PreTrainedTokenizerBase, context: StageContext, *, title: str,
) -> None:  # fmt: skip
    """Run examples one by one, so that there is no padding, and show every input of the layers.

    Args:
        model: The whole model; no token is dropped and no layer left out.
        layers: Modules in it.
        see: Is given a layer's place in `layers` and its input, [1, length, width].
        features: The examples.
        tokenizer: The model's.
        context: Whose progress is told, under `title`.
        title: What the progress is called.
    """

    def hook(place: int) -> Any:
        def seen(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            see(place, inputs[0])

        return seen

    hooks = [layer.register_forward_pre_hook(hook(place)) for place, layer in enumerate(layers)]
    try:
        with context.progress.bar(title, len(features)) as bar:
            for feature in features:
                inputs, _ = collate([feature], tokenizer, context.task)
                model(**whole_inputs(model, inputs))
                bar.advance()
    finally:
        for entry in hooks:
            entry.remove()
