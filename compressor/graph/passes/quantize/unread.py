"""Settings of `quantize` that a run would not look at, refused rather than dropped. Imports nothing heavy."""

from __future__ import annotations

from compressor.config.device import DeviceProfile
from compressor.config.schema import given
from compressor.errors import RequestError
from compressor.graph.passes.quantize.scheme import Scheme, resolve
from compressor.graph.passes.quantize.settings import QuantizeSettings

_RANGES = ("calibration", "percentile")
_ACTIVATIONS = ("activation_signed", "activation_symmetric")
_OF_INT8 = (
    *_RANGES, *_ACTIVATIONS, "per_channel", "reduce_range", "weight_type", "embeddings", "op_types", "exclude",
    "layout", "smooth",
)  # fmt: skip


def check_unread(settings: QuantizeSettings, device: DeviceProfile) -> None:
    """Raise `RequestError` for a setting without effect on this device, of a model that was not trained for int8."""
    scheme = resolve(settings, device)
    asked_nothing = {"embeddings": settings.embeddings == "keep", "smooth": settings.smooth == "off"}
    unread = [name for name in given(settings) if name in _unread(scheme, settings) and not asked_nothing.get(name)]
    if unread:
        raise RequestError(f"quantize: {unread[0]} would have no effect: {_reason(unread[0], scheme, device)}")


def _unread(scheme: Scheme, settings: QuantizeSettings) -> tuple[str, ...]:
    """Settings that a quantization like this does not look at."""
    if scheme.mode in ("float16", "none"):
        return _OF_INT8
    if scheme.mode == "dynamic":
        return (*_RANGES, *_ACTIVATIONS, "layout")
    if scheme.backend == "nncf":
        return (*_RANGES, "activation_signed")
    return () if settings.calibration == "percentile" else ("percentile",)


def _reason(name: str, scheme: Scheme, device: DeviceProfile) -> str:
    if scheme.backend == "nncf":
        return "NNCF chooses ranges by itself. Leave it out, or use backend: onnxruntime."
    if scheme.mode == "dynamic" and name == "layout":
        return "it belongs to mode: static. Leave one of them out."
    if scheme.mode == "dynamic":
        return "dynamic int8 finds its ranges in each run. Leave it out, or use mode: static."
    if scheme.mode == "static":
        return "it belongs to calibration: percentile. Leave one of them out."
    return (
        f"the device '{device.name}' is fast at {device.number_format}, and the graph is not made int8 for it. Leave "
        "it out, or choose mode: dynamic or static."
    )
