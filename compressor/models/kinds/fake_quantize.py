"""Rounding to eight bits while a model trains: weights by their largest number, activations in a learned range.

Jacob et al. 2018: what is rounded stays a float32 number, and gradients pass the rounding as if it were not there.
"""

from __future__ import annotations

from functools import cache
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.autograd import Function

from compressor.quiet import load_nncf

LEVELS = 256
"""Numbers that an activation of eight bits can be."""
_SMALLEST = 1e-8


def weight_codes(weight: Tensor, bits: int) -> tuple[Tensor, Tensor]:
    """Symmetric codes [out, in], whole numbers, and their steps [out, 1], both float32; codes * steps is the weight.

    Args:
        weight: [out, in].
        bits: Of a code; one code is left out, so that they are as many below zero as above.
    """
    highest = 2 ** (bits - 1) - 1
    steps = (weight.abs().amax(dim=1, keepdim=True) / highest).clamp(min=_SMALLEST)
    return torch.round(weight / steps).clamp(-highest, highest), steps


def rounded_weight(weight: Tensor, bits: int) -> Tensor:
    """The weight as its codes say it; the gradient goes to the weight as if nothing were rounded."""
    codes, steps = weight_codes(weight.detach(), bits)
    return weight + (codes * steps - weight).detach() if weight.requires_grad else codes * steps


class InputRange(nn.Module):
    """Rounds activations to 256 numbers from `low` to `low` + |`width`|; both learn (as in NNCF).

    What lies outside becomes the range's end. Zero is always one of the numbers.
    """

    def __init__(self, learning_rate: float = 1e-3) -> None:
        super().__init__()
        self.learning_rate = learning_rate  # of the range, in activations' units an update
        self.low = nn.Parameter(torch.tensor([-1.0]))
        self.width = nn.Parameter(torch.tensor([2.0]))
        self.rounds = True  # False: only cuts off what is outside

    def forward(self, states: Tensor) -> Tensor:
        """[...] to the same shape, float32."""
        states = states.float()
        if self.training and self.rounds:
            flat = cast(Any, _Rounded).apply(states.reshape(-1), *self._tuned())
            return cast(Tensor, flat.reshape(states.shape))
        step, zero = self.step_and_zero()
        if not self.rounds:
            return states.clamp(-zero * step, (LEVELS - 1 - zero) * step)
        return torch.fake_quantize_per_tensor_affine(states, step, zero, 0, LEVELS - 1)

    @torch.no_grad()
    def start(self, low: float, high: float) -> None:
        """Set the range."""
        self.low.fill_(min(low, 0.0))
        self.width.fill_(max(high, 0.0) - min(low, 0.0) + _SMALLEST)

    @torch.no_grad()
    def step_and_zero(self) -> tuple[Tensor, Tensor]:
        """The distance of two numbers, float32 [], and the code from 0 to 255 that means zero, int32 []."""
        high = (self.low + self.width.abs()).clamp(min=_SMALLEST)
        low, most = self.low.clamp(max=0.0), LEVELS - 1
        zero = torch.round(-low * most / (high - low))
        above = torch.where(zero < most, high / (most - zero), 0.0)  # the step that still reaches the upper end
        below = torch.where(zero > 0, -low / zero, 0.0)
        return torch.maximum(above, below).squeeze(), zero.int().squeeze()

    def _tuned(self) -> tuple[Tensor, Tensor]:
        """Low and width, moved so that zero is one of the numbers; gradients pass as if they had not moved."""
        step, zero = self.step_and_zero()
        width = self.width.abs()
        return self.low + (-zero * step - self.low).detach(), width + ((LEVELS - 1) * step - width).detach()


class _Rounded(Function):
    """NNCF's rounding in its plain form, which compiles nothing at its first use."""

    @staticmethod
    def forward(ctx: Any, states: Tensor, low: Tensor, width: Tensor) -> Tensor:
        ctx.save_for_backward(states, low, width)
        return cast(Tensor, _nncf().forward(states, low, width, LEVELS))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        found = _nncf().backward(gradients[0], *ctx.saved_tensors, LEVELS, 0, LEVELS - 1)
        return cast("tuple[Tensor, Tensor, Tensor]", tuple(found))


@cache
def _nncf() -> Any:
    """NNCF's rounding and its gradients; imported when a model trains, not when it is loaded."""
    load_nncf("nncf.torch")
    from nncf.torch.quantization.reference import ReferenceBackendType, ReferenceQuantize

    return ReferenceQuantize(ReferenceBackendType.TORCH)
