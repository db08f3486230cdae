"""Settings of `quantize` that a run would not look at, refused rather than dropped. Imports nothing heavy."""

from __future__ import annotations

from compressor.config.device import DeviceProfile
from compressor.errors import RequestError
from compressor.graph.passes.quantize.scheme import Scheme, resolve
from compressor.graph.passes.quantize.settings import QuantizeSettings


def check_unread(settings: QuantizeSettings, device: DeviceProfile) -> None:
    """Raise `RequestError` for a setting without effect on this device, of a model that was not trained for int8."""
    scheme = resolve(settings, device)
    ranges = settings.chosen_ranges()
    of_int8 = {
        "embeddings": settings.embeddings in ("int8", "int4"),
        "smooth": settings.smooth == "on",
        "exclude": bool(settings.exclude),
    }
    unread = ranges if scheme.mode != "static" or scheme.backend == "nncf" else []
    if scheme.mode in ("float16", "none"):
        unread = [*(name for name, asked in of_int8.items() if asked), *ranges]
    if unread:
        raise RequestError(f"quantize: {unread[0]} would have no effect: {_reason(scheme, device)}")


def _reason(scheme: Scheme, device: DeviceProfile) -> str:
    if scheme.backend == "nncf":
        return "NNCF chooses ranges by itself. Leave it out, or use backend: onnxruntime."
    if scheme.mode == "dynamic":
        return "dynamic int8 finds its ranges in each run. Leave it out, or use mode: static."
    return (
        f"the device '{device.name}' is fast at {device.number_format}, and the graph is not made int8 for it. Leave "
        "it out, or choose mode: dynamic or static."
    )
