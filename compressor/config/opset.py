"""Which operator sets a graph can be written in, and which of them a device reads. Imports nothing heavy."""

from __future__ import annotations

from compressor.config import runtime
from compressor.config.device import DeviceProfile
from compressor.errors import RequestError

OLDEST_OPSET = 14
"""Older operator sets lack operators that the graphs use."""
NEWEST_OPSET = 20
"""The newest that the TorchScript exporter writes."""

_OLDEST_IR = {14: 7, 15: 8, 16: 8, 17: 8, 18: 8, 19: 9, 20: 9}
"""The oldest ONNX file version (IR) that holds an operator set; graphs are written in it."""


def choose_opset(asked: int | None, device: DeviceProfile) -> int:
    """The operator set of the graph: as asked, or the newest that the exporter writes and the device reads.

    Raises `RequestError` for one that the exporter does not write or that the device does not read.
    """
    if asked is not None and not OLDEST_OPSET <= asked <= NEWEST_OPSET:
        raise RequestError(
            f"export.opset = {asked} is not possible: graphs are written in opset {OLDEST_OPSET} to {NEWEST_OPSET}."
        )
    opset, ir = ceiling(device)
    if asked is not None and asked > opset:
        raise RequestError(
            f"export.opset = {asked} is not possible: the device '{device.name}' reads up to "
            f"{_limit('max_opset', opset, device)}."
        )
    if asked is not None and _OLDEST_IR[asked] > ir:
        raise RequestError(
            f"export.opset = {asked} is not possible: it needs IR version {_OLDEST_IR[asked]}, and the device "
            f"'{device.name}' reads up to {_limit('max_ir', ir, device)}."
        )
    read = [entry for entry, oldest in _OLDEST_IR.items() if entry <= opset and oldest <= ir]
    if not read:
        raise RequestError(
            f"the device '{device.name}' reads no graph of ours (device.max_opset = {device.max_opset}, "
            f"device.max_ir = {device.max_ir}): at least opset {OLDEST_OPSET} and IR version "
            f"{_OLDEST_IR[OLDEST_OPSET]} are needed."
        )
    return asked or max(read)


def ceiling(device: DeviceProfile) -> tuple[int, int]:
    """Newest operator set and IR that the device reads: its own limits, and those of its oldest runtime.

    Raises `RequestError` for a runtime that is older than any that our graphs were tried in.
    """
    if device.runtime_version is None:
        return device.max_opset, device.max_ir
    read = runtime.reads(device.runtime_version)
    if read is None:
        oldest = ".".join(map(str, runtime.OLDEST))
        raise RequestError(
            f"the device '{device.name}' may have ONNX Runtime {device.runtime_version} (device.runtime_version), and "
            f"graphs of ours need {oldest} or newer."
        )
    return min(device.max_opset, read[0]), min(device.max_ir, read[1])


def file_version(opset: int) -> int:
    """The ONNX file version (IR) in which a graph of this operator set is written."""
    return _OLDEST_IR[opset]


def _limit(key: str, limit: int, device: DeviceProfile) -> str:
    """`max_opset` or `max_ir` as a text that names where it comes from."""
    if getattr(device, key) == limit:
        return f"device.{key} = {limit}"
    word = "opset" if key == "max_opset" else "IR version"
    return f"{word} {limit}, as its ONNX Runtime may be {device.runtime_version} (device.runtime_version)"
