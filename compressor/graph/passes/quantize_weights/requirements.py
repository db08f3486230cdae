"""What `MatMulNBits` asks of a device, and the quantizers of a model. Imports nothing heavy."""

from __future__ import annotations

from compressor.config.device import DeviceProfile
from compressor.errors import RequestError
from compressor.graph.passes.quantize_weights.settings import QuantizeWeightsSettings
from compressor.models.structure import Structure

PROVIDERS = ("CPUExecutionProvider", "CUDAExecutionProvider", "DmlExecutionProvider", "WebGpuExecutionProvider")
"""Execution providers that run the operator."""
OLDEST = {4: (1, 17), 8: (1, 22)}
"""The first ONNX Runtime that multiplies by weights of so many bits on the CPU."""

BY_LAYER = frozenset({"widths", "embedding_rank", "low_rank", "sparse", "length_adaptive", "adaptive_depth"})
"""Kinds of structure in which the encoder's layers still run one after the other, each with weights of its own."""


def check_structure(settings: QuantizeWeightsSettings, structure: Structure) -> None:
    """Raise `RequestError` for a model through which GPTQ and AWQ cannot go layer by layer."""
    for kind in structure.kinds():
        if settings.reads_data and kind not in BY_LAYER:
            raise RequestError(
                f"quantize_weights: {settings.method} goes through the encoder's layers one by one, and a model with "
                f"{kind} has none that run by themselves with weights of their own: use method: rtn."
            )


def check_device(settings: QuantizeWeightsSettings, device: DeviceProfile) -> None:
    """Raise `RequestError` if the device's runtime cannot run the result.

    `device.runtime_version` is compared where it is known; the operator itself is ONNX Runtime's own and needs no
    newer operator set or IR version than the rest of the graph.
    """
    names = [provider.name for provider in device.providers]
    if not set(names) & set(PROVIDERS):
        raise RequestError(
            f"quantize_weights: of the device '{device.name}' no provider ({', '.join(names)}) runs MatMulNBits: use "
            "the pass quantize, or add CPUExecutionProvider to device.providers."
        )
    version = device.runtime_version
    if version is None:
        return
    has = tuple(int(part) for part in version.split(".")[:2])
    if has < OLDEST[settings.bits]:
        major, minor = OLDEST[settings.bits]
        instead = "bits: 4" if has >= OLDEST[4] else "the pass quantize"
        raise RequestError(
            f"quantize_weights: {settings.bits} bits need ONNX Runtime {major}.{minor}, and the device "
            f"'{device.name}' has {version} (device.runtime_version): use {instead}."
        )
