"""Which device trains, and in which number format it multiplies."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Literal

import torch

from compressor import processor


def training_device() -> torch.device:
    """The GPU if there is one, the CPU otherwise."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def fast_bfloat16(device: torch.device, flags: frozenset[str] | None = None) -> bool:
    """Whether the device has instructions for bfloat16 products (not merely an emulation)."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return processor.fast_bfloat16(flags)


def autocast(precision: Literal["auto", "float32", "bfloat16"], device: torch.device) -> AbstractContextManager[object]:
    """A context for forward passes: bfloat16 autocast, or nothing for float32."""
    if precision == "bfloat16" or (precision == "auto" and fast_bfloat16(device)):
        return torch.autocast(device.type, dtype=torch.bfloat16)
    return nullcontext()
