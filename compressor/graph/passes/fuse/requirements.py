"""What the layouts of `fuse` ask of a device and a graph. Imports nothing heavy."""

from __future__ import annotations

from compressor.config.device import DeviceProfile
from compressor.config.runtime import OLDEST_ATTENTION, ROWS_OPSET, has_attention
from compressor.errors import RequestError
from compressor.graph.passes.fuse.settings import FuseSettings
from compressor.models.structure import Structure


def check_layout(settings: FuseSettings, device: DeviceProfile, opset: int, structure: Structure) -> None:
    """Raise `RequestError` for rows where the runtime lacks what they need, or the graph is too old for them."""
    if settings.layout != "rows" or not structure.computes_as_stock:  # other graphs have rows from the beginning
        return
    if not has_attention(device):
        oldest = ".".join(map(str, OLDEST_ATTENTION))
        raise RequestError(
            f"fuse: layout rows needs ONNX Runtime {oldest}, and the device '{device.name}' may have "
            f"{device.runtime_version} (device.runtime_version): leave the layout at auto."
        )
    if opset < ROWS_OPSET:
        raise RequestError(
            f"fuse: layout rows needs opset {ROWS_OPSET}, and the graph has {opset}: leave the layout at auto."
        )
