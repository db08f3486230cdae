"""What stages changed in a model's shape, as it stands in `config.json` under `compressor.structure`.

A normal form: one entry a kind, describing the model as it is now, applied in the order of the fields.
Imports nothing heavy: `plan` and the MAC counter read it without torch.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from compressor.config.schema import Count, NonNegative, Probability, Ratio, parse, settings
from compressor.errors import CheckpointError, RequestError

Significance = Literal["all", "first"]
"""Whose attention makes a token significant: that of all real tokens, or that of the first real one."""
DepthMethod = Literal["dact", "deebert", "pabee"]
Bound = Literal["tight", "paper"]
ExitHead = Literal["linear", "dense"]
"""What DACT takes for the most that later layers can change. Both hold for every input; tight stops no later."""
MODEL_TYPE = "compressor"
"""`model_type` of checkpoints that plain transformers must not load."""


@settings
class LengthAdaptive:
    """The encoder can drop tokens after each layer's attention (Length-Adaptive Transformer)."""

    keep: list[Ratio]  # [layers] default fraction of the input's tokens that each layer keeps, non-increasing
    minimum: Count = 2  # tokens that are never dropped below
    restore: bool = True  # give dropped tokens back to heads that read every token
    protect_first: bool = False  # [CLS] at position 0 always stays
    significance: Significance = "all"  # whose attention counts: every real token's, or the first one's


@settings
class AdaptiveDepth:
    """The model can answer after any layer, and stops where its method says that it may."""

    method: DepthMethod
    setting: NonNegative  # default: DACT's margin, DeeBERT's entropy in nats, PABEE's patience in layers
    head: ExitHead = "linear"  # what reads the first token after a layer: one product, or dense and tanh before it
    bound: Bound = "tight"  # DACT
    threshold: Probability = 0.5  # of several labels, each is predicted from here on


@settings
class Structure:
    """All structural changes of a model; a stock model has none."""

    length_adaptive: LengthAdaptive | None = None
    adaptive_depth: AdaptiveDepth | None = None

    @property
    def is_stock(self) -> bool:
        """Whether plain transformers would load the model rightly."""
        return all(getattr(self, field.name) is None for field in dataclasses.fields(self))

    def to_config(self) -> dict[str, Any]:
        """The entry for `config.json`; kinds that do not apply are left out."""
        return {key: value for key, value in dataclasses.asdict(self).items() if value is not None}

    def with_layers(self, kept: Sequence[int]) -> Structure:
        """The structure of the same model with only the layers `kept` (indices from 0) left."""
        if self.length_adaptive is None:
            return self
        keep = [self.length_adaptive.keep[index] for index in kept]
        return dataclasses.replace(self, length_adaptive=dataclasses.replace(self.length_adaptive, keep=keep))

    @classmethod
    def from_config(cls, config: Mapping[str, Any], *, where: str = "config.json") -> Structure:
        """Read the structure of a `config.json` mapping; a stock config gives an empty one.

        Raises:
            CheckpointError: The structure is not one of ours; `where` names the file.
        """
        ours = config.get("compressor", {})
        entry = ours.get("structure", {}) if isinstance(ours, Mapping) else ours
        if not isinstance(entry, Mapping):
            raise CheckpointError(f"{where}: compressor.structure must be a mapping, not {entry!r:.80}.")
        try:
            return parse(cls, entry, where=f"{where}: compressor.structure")
        except RequestError as error:
            raise CheckpointError(str(error)) from error
