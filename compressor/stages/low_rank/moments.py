"""What calibration examples say of each linear layer: the mean and covariance of its inputs, or its squared gradients.

Examples run one by one: nothing is padded, and gradients are those of single examples, as Fisher information needs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn

from compressor.models.kinds.length_adaptive import whole_inputs
from compressor.models.kinds.low_rank import LowRankLinear, dense
from compressor.stages.context import StageContext
from compressor.tasks.base import Feature
from compressor.training import collate
from compressor.training.layer_inputs import watch_inputs

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass
class Moments:
    """Of a layer's inputs, over all tokens: float64."""

    count: int
    total: Tensor  # [in]
    squares: Tensor  # [in, in] sum of outer products

    @property
    def mean(self) -> Tensor:
        """[in]."""
        return self.total / self.count

    @property
    def covariance(self) -> Tensor:
        """[in, in]."""
        return self.squares / self.count - torch.outer(self.mean, self.mean)

    def add(self, states: Tensor) -> None:
        """Count the inputs [..., in] of one run."""
        rows = states.detach().reshape(-1, states.shape[-1]).double()
        self.count += len(rows)
        self.total += rows.sum(0)
        self.squares += rows.T @ rows


def input_moments(
    model: nn.Module, names: Sequence[str], features: Sequence[Feature], tokenizer: PreTrainedTokenizerBase,
    context: StageContext,
) -> dict[str, Moments]:  # fmt: skip
    """Mean and covariance of the inputs of the named layers, by name."""
    layers: list[Any] = [model.get_submodule(name) for name in names]
    found = []
    for layer in layers:
        size = (layer.first if isinstance(layer, LowRankLinear) else layer).in_features
        found.append(Moments(0, torch.zeros(size).double(), torch.zeros(size, size).double()))

    def see(place: int, states: Tensor) -> None:
        found[place].add(states)

    watch_inputs(model, layers, see, features, tokenizer, context, title="low_rank: inputs")
    return dict(zip(names, found, strict=True))


def squared_gradients(
    model: nn.Module, names: Sequence[str], features: Sequence[Feature], tokenizer: PreTrainedTokenizerBase,
    context: StageContext,
) -> dict[str, Tensor]:  # fmt: skip
    """Squared gradients of the task's loss, mean over examples and summed over outputs: [in] by layer (FWSVD, eq. 5).

    Of a layer that is a product already, those of the product.
    """
    layers = {name: model.get_submodule(name) for name in names}
    weights = {name: dense(layer)[0].detach() for name, layer in layers.items()}  # type: ignore[arg-type]
    result = {name: torch.zeros(weight.shape[1]).double() for name, weight in weights.items()}
    gradients = {name: torch.zeros_like(weight) for name, weight in weights.items()}
    hooks = [layer.register_forward_hook(_outer(gradients[name])) for name, layer in layers.items()]
    try:
        with context.progress.bar("low_rank: gradients", len(features)) as bar:
            for feature in features:
                inputs, labels = collate([feature], tokenizer, context.task)
                for gradient in gradients.values():
                    gradient.zero_()
                loss: Any = context.task.loss(model(**whole_inputs(model, inputs)), labels)
                loss.backward()
                for name, gradient in gradients.items():
                    result[name] += gradient.double().square().sum(0) / len(features)
                model.zero_grad()
                bar.advance()
    finally:
        for hook in hooks:
            hook.remove()
    return result


def _outer(gradient: Tensor) -> Any:
    """A hook that adds the gradient of the layer's weight [out, in], from what goes in and what comes back."""

    def hook(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        rows = inputs[0].detach().reshape(-1, inputs[0].shape[-1])

        def add(back: Tensor) -> None:
            gradient.add_(back.reshape(-1, back.shape[-1]).T @ rows)

        cast(Any, output).register_hook(add)

    return hook
