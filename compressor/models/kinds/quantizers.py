"""Encoders whose matrices see their inputs and their own weights rounded to eight bits (Q8BERT, Zafrir et al. 2019).

A linear layer keeps its name, its float32 weight and its bias; the range of its inputs stands beside them. In a
smoothed model a factor for each channel of its input does too, with which loud channels are brought down before they
are rounded; the weight has the inverse in it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from operator import attrgetter
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from compressor.models.families import family_of_model
from compressor.models.kinds.fake_quantize import InputRange, rounded_weight
from compressor.models.matrices import PARTS
from compressor.models.structure import Quantizers

Model = TypeVar("Model", bound=nn.Module)


class QuantizedLinear(nn.Linear):
    """A linear layer of rounded inputs and weights; gradients reach the float32 weight and the range of the inputs."""

    input_range: InputRange
    weight_bits: int
    quiet: Tensor | None  # [in], factors of the input's channels

    def forward(self, input: Tensor) -> Tensor:
        """[..., in] to [..., out]."""
        states = self.input_range(input if self.quiet is None else input * self.quiet)
        return linear(states, rounded_weight(self.weight, self.weight_bits), self.bias)

    @property
    def brings_down(self) -> bool:
        """Whether any channel of its input is multiplied by another factor than 1."""
        return self.quiet is not None and not bool((self.quiet == 1).all())

    @torch.no_grad()
    def bring_down(self, factor: Tensor) -> None:
        """Divide the input's channels by `factor` [in] from now on; the layer computes what it did."""
        cast(Tensor, self.quiet).div_(factor)
        self.weight.mul_(factor)


def make_quantizers(model: Model, settings: Quantizers) -> Model:
    """Let all matrices of the encoder's layers round, in place; the two of a low-rank pair one by one.

    Layers that do it already keep their ranges. Weights can be loaded after this.
    """
    for module in encoder_linears(model):
        _make(module, settings)
    cast(Any, model).quantizers = settings
    return model


def encoder_linears(model: nn.Module) -> list[nn.Linear]:
    """The linear layers of the encoder's matrices; those of layers that share weights once."""
    family = family_of_model(model)
    found: dict[int, nn.Linear] = {}
    for layer in family.layers_of(model):
        for part in PARTS:
            matrix = attrgetter(getattr(family, part))(layer)
            found |= {id(module): module for module in matrix.modules() if isinstance(module, nn.Linear)}
    return list(found.values())


def quantized_layers(model: nn.Module) -> dict[str, QuantizedLinear]:
    """The linear layers that round, by dotted name."""
    return {name: module for name, module in model.named_modules() if isinstance(module, QuantizedLinear)}


@contextmanager
def unrounded_inputs(model: nn.Module) -> Iterator[None]:
    """Let inputs be cut off at the ends of their ranges, but not rounded; for comparing two implementations."""
    ranges = [layer.input_range for layer in quantized_layers(model).values()]
    for each in ranges:
        each.rounds = False
    try:
        yield
    finally:
        for each in ranges:
            each.rounds = True


def _make(module: nn.Linear, settings: Quantizers) -> None:
    """Change the layer itself, so that its parameters stay the same objects."""
    if not isinstance(module, QuantizedLinear):
        cast(Any, module).__class__ = QuantizedLinear
        module.input_range = InputRange().to(module.weight.device)
        module.register_buffer("quiet", None)
    layer = cast(QuantizedLinear, module)
    layer.weight_bits = settings.weight_bits
    if settings.smoothed and layer.quiet is None:
        layer.quiet = torch.ones(layer.in_features, device=layer.weight.device)
