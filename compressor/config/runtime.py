"""What the versions of ONNX Runtime can do, where our graphs depend on it. Imports nothing heavy."""

from __future__ import annotations

from compressor.config.device import DeviceProfile

Release = tuple[int, int]
"""Major and minor version."""

READS: dict[Release, tuple[int, int]] = {
    (1, 10): (15, 8),
    (1, 11): (16, 8),
    (1, 12): (17, 8),
    (1, 14): (18, 8),
    (1, 15): (19, 9),
    (1, 17): (20, 9),
    (1, 18): (21, 10),
    (1, 21): (22, 10),
    (1, 23): (23, 11),
}
"""Newest operator set and ONNX file version (IR) that a release reads, where they change.

From onnxruntime.ai/docs/reference/compatibility; 1.10, 1.11, 1.12, 1.14 to 1.18, 1.20, 1.22 and 1.23 were tried.
"""

OLDEST: Release = min(READS)
"""The oldest release that any graph of ours was tried in."""

OLDEST_ATTENTION: Release = (1, 16)
"""The first release whose MultiHeadAttention computes ours on the CPU: 1.14 has none, 1.15 gives wrong numbers."""

ROWS_OPSET = 17
"""The first operator set in which the exporter writes layer norm as one node, by which `fuse` finds its rows."""


def release(version: str) -> Release:
    """Major and minor number of a version text."""
    major, minor = version.split(".")[:2]
    return int(major), int(minor)


def reads(version: str) -> tuple[int, int] | None:
    """Newest operator set and IR that a version reads; None for one that is older than any that was tried."""
    known = [entry for entry in READS if entry <= release(version)]
    return READS[max(known)] if known else None


def has_attention(device: DeviceProfile) -> bool:
    """Whether every runtime that the device may have computes MultiHeadAttention as our graphs use it."""
    return device.runtime_version is None or release(device.runtime_version) >= OLDEST_ATTENTION


def fuse_layout(device: DeviceProfile, opset: int) -> str:
    """The layout that `fuse` gives a stock graph of its own accord: `rows` or `onnxruntime`."""
    return "rows" if device.runs_on_cpu and opset >= ROWS_OPSET and has_attention(device) else "onnxruntime"
