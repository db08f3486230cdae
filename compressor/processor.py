"""What this machine multiplies with, known without importing torch: `plan` and training must agree on it."""

from __future__ import annotations

import functools
import importlib.util
import os
import re
from collections.abc import Set
from pathlib import Path

FAST_BFLOAT16 = frozenset(("avx512_bf16", "amx_bf16", "bf16"))
"""CPU flags of instructions for bfloat16 products (not merely an emulation); the last one is ARM's name."""

_GPUS = ("nvidia[0-9]*", "nvhost-gpu", "nvgpu", "dxg", "kfd")  # PC, Jetson (older, newer), WSL, AMD


@functools.cache
def cpu_info(cpuinfo: Path = Path("/proc/cpuinfo")) -> dict[str, str]:
    """The first value of every entry of the system's description of its CPUs; empty where there is none."""
    try:
        text = cpuinfo.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return {}
    entries: dict[str, str] = {}
    for line in text.splitlines():
        name, _, value = line.partition(":")
        entries.setdefault(name.strip(), value.strip())
    return entries


def cpu_flags(cpuinfo: Path = Path("/proc/cpuinfo")) -> frozenset[str]:
    """Instruction-set flags of the CPU (`flags` on x86, `Features` on Arm); empty where the system does not say."""
    info = cpu_info(cpuinfo)
    return frozenset(f"{info.get('flags', '')} {info.get('Features', '')}".split())


def fast_bfloat16(flags: Set[str] | None = None) -> bool:
    """Whether the CPU has instructions for bfloat16 products."""
    return bool(FAST_BFLOAT16 & (cpu_flags() if flags is None else flags))


def torch_sees_gpu(devices: Path = Path("/dev")) -> bool:
    """Whether torch will train on a GPU: there is one, it is not hidden, and torch is built for it.

    A driver that is too old for torch is not noticed.
    """
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES", "0").strip()
    if not hidden or hidden.startswith("-"):
        return False
    return any(any(devices.glob(name)) for name in _GPUS) and built_for_gpu(_torch_version())


def built_for_gpu(version: str) -> bool:
    """Whether the text of torch's `version.py` is that of a build with CUDA or ROCm."""
    return re.search(r"""^(cuda|hip)\b[^=\n]*=\s*['"]""", version, re.MULTILINE) is not None


@functools.cache
def _torch_version() -> str:
    spec = importlib.util.find_spec("torch")  # does not import it
    if spec is None or spec.origin is None:
        return ""
    try:
        return Path(spec.origin).with_name("version.py").read_text(encoding="utf-8")
    except OSError:
        return ""
