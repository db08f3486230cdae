"""What `quantize` can be asked of a model that was trained for int8. Imports nothing heavy."""

from __future__ import annotations

from compressor.config.device import DeviceProfile
from compressor.config.schema import given
from compressor.errors import RequestError
from compressor.graph.passes.quantize.scheme import resolve
from compressor.graph.passes.quantize.settings import QuantizeSettings


def check_trained(settings: QuantizeSettings, device: DeviceProfile) -> None:
    """Raise `RequestError` for settings that the training has settled, or a device that wants other ranges."""
    free = ("embeddings", "layout") if settings.smooth == "on" else ("embeddings", "layout", "smooth")
    settled = [name for name in given(settings) if name not in free]
    if settled:
        raise RequestError(
            f"quantize: {settled[0]} cannot be set for a model that the stage qat trained for int8: which products are "
            "int8, and in which ranges, is learned. Leave it out."
        )
    scheme = resolve(settings, device)
    if scheme.layout == "qdq" and (scheme.activation_symmetric or scheme.activation_signed):
        if not device.number_format.endswith("int8"):
            raise RequestError(
                f"quantize: the device '{device.name}' is fast at {device.number_format}, and the stage qat trains for "
                "int8: leave the stage out, or choose layout: integer for an int8 file all the same."
            )
        raise RequestError(
            "quantize: this device wants signed or symmetric activations, and those that the stage qat trains have a "
            "zero point of their own: leave the stage out, or choose layout: integer."
        )
