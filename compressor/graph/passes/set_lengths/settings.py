"""Settings of `set_lengths`; imports nothing heavy."""

from __future__ import annotations

from compressor.config.schema import Ratio, settings


@settings
class SetLengthsSettings:
    """The length configuration that the dial has by itself.

    A number is what each layer keeps of the tokens that the layer before it kept (0.9: 90, 81, 73 % ... of the input);
    a list is `keep` itself, a fraction of the input's tokens for each layer.
    """

    keep: Ratio | list[Ratio] = 0.9


def configuration(keep: float | list[float], layers: int) -> list[float]:
    """`keep` [layers] of a setting."""
    return list(keep) if isinstance(keep, list) else [keep ** (layer + 1) for layer in range(layers)]
