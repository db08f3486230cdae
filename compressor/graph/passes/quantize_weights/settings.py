"""Settings of `quantize_weights`; imports nothing heavy."""

from __future__ import annotations

import dataclasses
from typing import Literal

from compressor.config.device import DeviceProfile
from compressor.config.schema import Count, settings
from compressor.errors import RequestError


@settings
class QuantizeWeightsSettings:
    """Weights as whole numbers with one scale a block; activations stay float32.

    `rtn` rounds to nearest and needs no data; `gptq` (Frantar et al. 2022) lets later weights of a row make up for
    the rounding of earlier ones, `awq` (Lin et al. 2023) scales channels that matter; both read calibration data and
    reach the encoder's layers: a pooler and a wide head are rounded to nearest.
    NNCF has `rtn` alone, and eight bits of it with one scale a column. `exclude` holds patterns of node names.
    """

    bits: Literal[4, 8] = 4
    method: Literal["rtn", "gptq", "awq"] = "rtn"
    backend: Literal["neural_compressor", "nncf"] = "neural_compressor"
    block_size: Literal[16, 32, 64, 128] = 64  # weights of a column that share a scale
    symmetric: bool = True  # no zero points
    activations: Literal["float32", "int8"] = "float32"  # int8: rounded for the product itself, faster on some CPUs
    exclude: list[str] = dataclasses.field(default_factory=list)
    smallest_width: Count = 16  # products with fewer rows or columns of weights stay float32 (heads, sums)
    embeddings: Literal["auto", "keep", "int8", "int4"] = "auto"  # auto: int8 where they are a plain look-up
    samples: Count = 128  # calibration examples (gptq, awq)
    batch_size: Count = 8  # windows a calibration run

    def __post_init__(self) -> None:
        """Refuse what NNCF does not have."""
        if self.backend == "nncf" and self.method != "rtn":
            raise RequestError(
                f"quantize_weights: NNCF has no {self.method} for ONNX graphs: use backend: neural_compressor, or "
                "method: rtn."
            )

    def needs(self, device: DeviceProfile) -> tuple[str, ...]:
        """The data parts without which it cannot work."""
        return ("calibration",) if self.reads_data else ()

    @property
    def reads_data(self) -> bool:
        """Whether the method looks at activations."""
        return self.method != "rtn"
