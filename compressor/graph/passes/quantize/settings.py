"""Settings of `quantize`; imports nothing heavy."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Literal

from pydantic import Field

from compressor.config.device import DeviceProfile
from compressor.config.schema import Count, NonNegative, settings

Mode = Literal["dynamic", "static", "float16", "none"]
_BY_FORMAT: dict[str, Mode] = {
    "dynamic_int8": "dynamic",
    "static_int8": "static",
    "float16": "float16",
    "float32": "none",
}


@settings
class QuantizeSettings:
    """Int8 weights and activations; None and auto mean: as the device profile says.

    Naive rounding to nearest is `mode: static`, `calibration: minmax`, `smooth: off`: ranges as wide as what was
    seen. `calibration: mse` takes the range that leaves the smallest squared error.

    `embeddings: int8` stores the word embeddings as int8 with one scale a row. Rows are looked up first and turned
    to float32 afterwards. On a 6 x 384 SQuAD model the file went from 58.7 to 23.7 MB; speed and F1 did not change
    beyond noise. `int4` takes half of that, with a scale for each 32 numbers of a row, and costs accuracy.
    `weight_type: uint8` took twice the time of int8 on AVX-512 VNNI; without VNNI, int8 weights can overflow, which
    `reduce_range` prevents. `exclude` holds patterns of node names (`*` and `?`).

    `backend: nncf` is static, chooses ranges by itself, smooths by SmoothQuant unless `smooth: off` (with `max_drop` as
    the other backend does) and corrects biases by what rounding adds to them, where they can bear it.
    """

    backend: Literal["auto", "onnxruntime", "nncf"] = "auto"  # auto: nncf if max_drop is given
    mode: Literal["auto", "dynamic", "static"] = "auto"
    per_channel: bool | None = None
    reduce_range: bool | None = None  # 7-bit weights, for x86 without VNNI
    activation_signed: bool | None = None  # static: int8 rather than uint8
    activation_symmetric: bool | None = None  # static: zero point at zero
    weight_type: Literal["int8", "uint8"] = "int8"
    embeddings: Literal["auto", "keep", "int8", "int4"] = "auto"  # auto: int8 where they are a plain look-up
    op_types: list[Literal["MatMul", "Gemm", "Attention", "LSTM"]] = dataclasses.field(
        default_factory=lambda: ["MatMul", "Gemm", "Attention", "LSTM"]
    )
    exclude: list[str] = dataclasses.field(default_factory=list)
    layout: Literal["auto", "qdq", "integer"] = "auto"  # static; auto: integer products on the CPU provider
    smallest_width: Count = 16  # products with fewer rows or columns of weights stay float32 (heads, sums)
    calibration: Literal["minmax", "percentile", "entropy", "mse"] = "percentile"  # onnxruntime, static: its ranges
    percentile: Annotated[float, Field(gt=50, le=100)] = 99.999  # calibration: percentile
    samples: Count | None = None  # calibration examples; None: all
    batch_size: Count = 4  # windows a calibration run
    smooth: Literal["auto", "on", "off"] = "auto"  # loud channels of activations; auto: where there is calibration data
    max_drop: NonNegative | None = None  # nncf: points that int8 may lose; products go back to float until it holds

    def chosen_backend(self) -> Literal["onnxruntime", "nncf"]:
        """The backend, where auto leaves it open: the one that can bound the drop, if a bound is given."""
        if self.backend == "auto":
            return "onnxruntime" if self.max_drop is None else "nncf"
        return self.backend

    def chosen_mode(self, device: DeviceProfile) -> Mode:
        """The mode, by the device's number format where auto leaves it open; NNCF is static always.

        At `float16` the cast pass does it, at `none` nothing is done.
        """
        if self.chosen_backend() == "nncf":
            return "static"
        return _BY_FORMAT[device.number_format] if self.mode == "auto" else self.mode

    def needs(self, device: DeviceProfile) -> tuple[str, ...]:
        """The data parts without which it cannot work."""
        return ("calibration",) if self.chosen_mode(device) == "static" or self.smooth == "on" else ()
