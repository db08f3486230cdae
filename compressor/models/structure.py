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
"""What DACT takes for the most that later layers can change. Both hold for every input; tight stops no later."""
ExitHead = Literal["linear", "dense"]
MODEL_TYPE = "compressor"
"""`model_type` of checkpoints that plain transformers must not load."""


@settings
class Widths:
    """Layers that lost attention heads or a part of their feed-forward block, each as much as it could spare."""

    heads: list[Count]  # [layers]
    feed_forward: list[Count]  # [layers] inner width
    head_size: Count  # width of one head, the same everywhere

    def of_layers(self, kept: Sequence[int]) -> Widths:
        """The same where only some layers are left."""
        return dataclasses.replace(
            self, heads=[self.heads[i] for i in kept], feed_forward=[self.feed_forward[i] for i in kept]
        )


@settings
class LengthAdaptive:
    """The encoder can drop tokens after each layer's attention (Length-Adaptive Transformer)."""

    keep: list[Ratio]  # [layers] default fraction of the input's tokens that each layer keeps, non-increasing
    minimum: Count = 2  # tokens that are never dropped below
    restore: bool = True  # give dropped tokens back to heads that read every token
    protect_first: bool = False  # [CLS] at position 0 always stays
    significance: Significance = "all"  # whose attention counts: every real token's, or the first one's

    def of_layers(self, kept: Sequence[int]) -> LengthAdaptive:
        """The same where only some layers are left."""
        return dataclasses.replace(self, keep=[self.keep[index] for index in kept])


@settings
class AdaptiveDepth:
    """The model can answer after any layer, and stops where its method says that it may."""

    method: DepthMethod
    setting: NonNegative  # default: DACT's margin, DeeBERT's entropy in nats, PABEE's patience in layers
    head: ExitHead = "linear"  # what reads the first token after a layer: one product, or dense and tanh before it
    bound: Bound = "tight"  # DACT
    threshold: Probability = 0.5  # of several labels, each is predicted from here on
    tolerance: NonNegative = 0.1  # numbers (regression) agree that differ by at most this, in the label's unit

    def of_layers(self, kept: Sequence[int]) -> AdaptiveDepth:
        """The same: every layer that is left has its exit."""
        return self


@settings
class Structure:
    """All structural changes of a model; a stock model has none. `models.kinds` makes them, in this order."""

    widths: Widths | None = None
    length_adaptive: LengthAdaptive | None = None
    adaptive_depth: AdaptiveDepth | None = None

    @property
    def is_stock(self) -> bool:
        """Whether plain transformers would load the model rightly."""
        return not self.kinds()

    def to_config(self) -> dict[str, Any]:
        """The entry for `config.json`; kinds that do not apply are left out."""
        return {name: dataclasses.asdict(kind) for name, kind in self.kinds().items()}

    def with_layers(self, kept: Sequence[int]) -> Structure:
        """The structure of the same model with only the layers `kept` (indices from 0) left."""
        return Structure(**{name: kind.of_layers(kept) for name, kind in self.kinds().items()})

    def kinds(self) -> dict[str, Any]:
        """The kinds that apply, in order."""
        named = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return {name: kind for name, kind in named.items() if kind is not None}

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
