"""This machine: processor, instruction sets, cores, memory, operating system, library versions.

Nothing here names the machine or a folder of it, so that a manifest can carry all of it.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
from pathlib import Path
from typing import Any

from compressor.processor import cpu_flags, cpu_info

INSTRUCTION_SETS = (
    "avx", "avx2", "fma", "f16c", "avx_vnni", "avx512f", "avx512bw", "avx512vl", "avx512_vnni", "avx512_bf16",
    "avx512_fp16", "amx_tile", "amx_int8", "amx_bf16",
    "asimd", "asimdhp", "asimddp", "i8mm", "bf16", "sve", "sve2",
)  # fmt: skip
"""CPU flags that decide which kernels a runtime takes (x86, then Arm)."""

LIBRARIES = (
    "torch", "transformers", "optimum", "optimum-onnx", "onnx", "onnxruntime", "onnxruntime-gpu", "onnxscript", "nncf",
    "neural-compressor", "tokenizers", "numpy", "safetensors", "datasets", "accelerate", "scikit-learn", "hydra-core",
)  # fmt: skip
"""Libraries whose version can change a result."""

_BOARD = Path("/proc/device-tree/model")
_MEMINFO = Path("/proc/meminfo")
_CGROUP = Path("/sys/fs/cgroup")
_CACHES = Path("/sys/devices/system/cpu/cpu0/cache")


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


def board() -> str:
    """The board's name from the device tree (Raspberry Pi, Jetson); empty on a PC."""
    return _text(_BOARD).replace("\0", "").strip()


def cpu_model() -> str:
    """The processor's name; the board's name or the architecture where the processor has none."""
    info = cpu_info()
    return info.get("model name") or info.get("Model") or board() or platform.processor() or platform.machine()


def allowed_cpus() -> list[int]:
    """The logical CPUs that this process may run on, in order."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def cores() -> int:
    """Logical CPUs that this process can use: its affinity, bounded by a container's quota."""
    available = len(allowed_cpus())
    quota, _, period = _text(_CGROUP / "cpu.max").strip().partition(" ")
    if quota.isdigit() and period.isdigit():
        available = min(available, max(1, round(int(quota) / int(period))))
    return available


def memory_mb() -> int | None:
    """Memory in MiB that this process can use: the machine's, bounded by a container's limit; None if unknown."""
    total = None
    for line in _text(_MEMINFO).splitlines():
        if line.startswith("MemTotal:"):
            total = int(line.split()[1]) // 1024
    limit = _text(_CGROUP / "memory.max").strip()
    if limit.isdigit():
        bound = int(limit) // 2**20
        total = bound if total is None else min(total, bound)
    return total


def versions() -> dict[str, str]:
    """Versions of Python and of the installed libraries that do the work."""
    found = {"python": platform.python_version()}
    for name in LIBRARIES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def describe() -> dict[str, Any]:
    """Everything about this machine that a measurement depends on, as plain JSON values."""
    flags = cpu_flags()
    return {
        "cpu": cpu_model(),
        "board": board() or None,
        "machine": platform.machine(),
        "flags": [name for name in INSTRUCTION_SETS if name in flags],
        "cores": cores(),
        "memory_mb": memory_mb(),
        "os": f"{platform.system()} {platform.release()}",
        "libraries": versions(),
    }


def caches() -> dict[str, int]:
    """Sizes of the first core's caches in KiB by name (L1d, L1i, L2, L3); empty where the system does not say."""
    found: dict[str, int] = {}
    for place in sorted(_CACHES.glob("index*")):
        kind, size = _text(place / "type").strip(), _text(place / "size").strip()
        if size.endswith("K") and size[:-1].isdigit():
            letter = {"Data": "d", "Instruction": "i"}.get(kind, "")
            found[f"L{_text(place / 'level').strip()}{letter}"] = int(size[:-1])
    return found
