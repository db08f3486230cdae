"""Which operator sets a graph can be written in, and which of them a device reads. Imports nothing heavy."""

from __future__ import annotations

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
    if asked is not None and asked > device.max_opset:
        raise RequestError(
            f"export.opset = {asked} is not possible: the device '{device.name}' reads up to device.max_opset = "
            f"{device.max_opset}."
        )
    if asked is not None and _OLDEST_IR[asked] > device.max_ir:
        raise RequestError(
            f"export.opset = {asked} is not possible: it needs IR version {_OLDEST_IR[asked]}, and the device "
            f"'{device.name}' reads up to device.max_ir = {device.max_ir}."
        )
    read = [opset for opset, oldest in _OLDEST_IR.items() if opset <= device.max_opset and oldest <= device.max_ir]
    if not read:
        raise RequestError(
            f"the device '{device.name}' reads no graph of ours (device.max_opset = {device.max_opset}, "
            f"device.max_ir = {device.max_ir}): at least opset {OLDEST_OPSET} and IR version "
            f"{_OLDEST_IR[OLDEST_OPSET]} are needed."
        )
    return asked or max(read)
