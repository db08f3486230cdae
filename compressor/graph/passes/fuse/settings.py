"""Settings of `fuse`; imports nothing heavy."""

from __future__ import annotations

from typing import Literal

from compressor.config.schema import settings


@settings
class FuseSettings:
    """Which operators take the place of which; `auto` takes what is fast on the device's first provider.

    `rows`: attention as MultiHeadAttention, its mask only where there is padding; GELU; all other work on flat rows
    [batch·length, hidden]. The fastest on the CPU, where SkipLayerNormalization, Attention and
    EmbedLayerNormalization are slower than what they replace.
    `onnxruntime`: what ONNX Runtime's own transformer optimizer makes of the graph, for GPUs.
    """

    layout: Literal["auto", "rows", "onnxruntime"] = "auto"
