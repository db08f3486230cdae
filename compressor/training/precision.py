"""Which device trains, and in which number format it multiplies."""

from __future__ import annotations

import functools
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Literal

import torch

_FAST_FLAGS = {"avx512_bf16", "amx_bf16", "bf16"}  # the last one is ARM's name


def training_device() -> torch.device:
    """The GPU if there is one, the CPU otherwise."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


@functools.cache
def cpu_flags(cpuinfo: Path = Path("/proc/cpuinfo")) -> frozenset[str]:
    """Instruction-set flags of the first CPU; empty where the system does not say."""
    try:
        text = cpuinfo.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return frozenset()
    for line in text.splitlines():
        name, _, value = line.partition(":")
        if name.strip() in ("flags", "Features"):
            return frozenset(value.split())
    return frozenset()


def fast_bfloat16(device: torch.device, flags: frozenset[str] | None = None) -> bool:
    """Whether the device has instructions for bfloat16 products (not merely an emulation)."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return bool(_FAST_FLAGS & (cpu_flags() if flags is None else flags))


def autocast(precision: Literal["auto", "float32", "bfloat16"], device: torch.device) -> AbstractContextManager[object]:
    """A context for forward passes: bfloat16 autocast, or nothing for float32."""
    if precision == "bfloat16" or (precision == "auto" and fast_bfloat16(device)):
        return torch.autocast(device.type, dtype=torch.bfloat16)
    return nullcontext()
