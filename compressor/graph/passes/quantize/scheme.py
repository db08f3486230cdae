"""Which quantization a run does: the settings, with the device profile's answers where they leave it open."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

from compressor.config.device import DeviceProfile
from compressor.errors import RequestError
from compressor.graph.passes.quantize.settings import Mode, QuantizeSettings


@dataclasses.dataclass(frozen=True)
class Scheme:
    """A quantization without open questions."""

    backend: Literal["onnxruntime", "nncf"]
    mode: Mode
    per_channel: bool
    reduce_range: bool
    activation_signed: bool
    activation_symmetric: bool
    weight_type: Literal["int8", "uint8"]
    layout: Literal["qdq", "integer"]  # static: Q/DQ pairs (TensorRT, OpenVINO), or integer products (CPU provider)

    def notes(self) -> dict[str, Any]:
        """What of it is true of the graph: nothing that is not looked at."""
        of_dynamic = ["activation_signed", "activation_symmetric", "layout"] if self.mode == "dynamic" else []
        unread = ["activation_signed"] if self.backend == "nncf" else of_dynamic
        return {name: value for name, value in dataclasses.asdict(self).items() if name not in unread}


def resolve(settings: QuantizeSettings, device: DeviceProfile) -> Scheme:
    """Fill in what `settings` leave open from `device`.

    Raises:
        RequestError: Settings that contradict each other.
    """
    backend = settings.chosen_backend()
    if settings.max_drop is not None and backend != "nncf":
        raise RequestError("quantize: max_drop needs backend: nncf, which has accuracy control (or backend: auto).")
    if backend == "nncf" and settings.mode == "dynamic":
        raise RequestError("quantize: backend nncf quantizes statically only: mode must be static or auto.")
    if backend == "nncf" and settings.weight_type != "int8":
        raise RequestError("quantize: backend nncf has int8 weights only: leave weight_type at int8.")
    layout = settings.layout
    if layout == "auto":
        layout = "integer" if device.runs_on_cpu else "qdq"

    def given(value: bool | None, default: bool) -> bool:
        return default if value is None else value

    return Scheme(
        backend=backend,
        mode=settings.chosen_mode(device),
        per_channel=given(settings.per_channel, device.per_channel),
        reduce_range=given(settings.reduce_range, device.reduce_range),
        activation_signed=given(settings.activation_signed, device.activation_signed),
        activation_symmetric=given(settings.activation_symmetric, device.activation_symmetric),
        weight_type=settings.weight_type,
        layout=layout,
    )
