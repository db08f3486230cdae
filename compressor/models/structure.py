"""What stages changed in a model's shape, as it stands in `config.json` under `compressor.structure`.

A normal form: one entry a kind, describing the model as it is now, applied in the order of the fields.
Imports nothing heavy: `plan` and the MAC counter read it without torch.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from compressor.config.schema import Count, NonNegative, Probability, Ratio, Whole, parse, settings
from compressor.errors import CheckpointError, RequestError

Significance = Literal["all", "first"]
"""Whose attention makes a token significant: that of all real tokens, or that of the first real one."""
DepthMethod = Literal["dact", "deebert", "pabee"]
Bound = Literal["tight", "paper"]
"""What DACT takes for the most that later layers can change. Both hold for every input; tight stops no later."""
ExitHead = Literal["linear", "dense"]
Summary = Literal["mean", "first"]
"""What an exit reads of its layer: the mean of all real tokens, or the first one."""
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
class EmbeddingRank:
    """Word embeddings as the product of a narrow table and one matrix that all words share."""

    rank: Count  # width of the table

    def of_layers(self, kept: Sequence[int]) -> EmbeddingRank:
        """The same: it counts no layers."""
        return self


@settings
class LowRank:
    """Linear layers as the product of two smaller ones."""

    ranks: dict[str, Count]  # inner width by the layer's dotted name in the task model

    def of_layers(self, kept: Sequence[int]) -> LowRank | None:
        """The same where only some layers are left; of a layer that is named twice the first place counts."""
        places: dict[int, int] = {}
        for new, old in enumerate(kept):
            places.setdefault(old, new)
        ranks = {_renumbered(name, places): rank for name, rank in self.ranks.items()}
        left = {name: rank for name, rank in ranks.items() if name is not None}
        return LowRank(ranks=left) if left else None


def _renumbered(name: str, places: Mapping[int, int]) -> str | None:
    """A dotted name in which the number of its layer, the first in it, became a new one; None: the layer is gone."""
    steps = name.split(".")
    at = next((place for place, step in enumerate(steps) if step.isdigit()), None)
    if at is None:
        return name
    if int(steps[at]) not in places:
        return None
    return ".".join([*steps[:at], str(places[int(steps[at])]), *steps[at + 1 :]])


@settings
class SharedLayers:
    """Layers that use the weights of an earlier one."""

    layers: list[Whole]  # [layers] whose weights each layer uses: its own number, or that of an earlier owner

    def __post_init__(self) -> None:
        """Refuse a layer that uses the weights of one that has none of its own, or that comes later."""
        for layer, owner in enumerate(self.layers):
            if owner > layer or self.layers[owner] != owner:
                raise ValueError(f"layer {layer} cannot use the weights of layer {owner}")

    def of_layers(self, kept: Sequence[int]) -> SharedLayers | None:
        """The same where only some layers are left: the first that uses some weights owns them."""
        owners = [self.layers[old] for old in kept]
        layers = [owners.index(owner) for owner in owners]
        return None if layers == list(range(len(layers))) else SharedLayers(layers=layers)


@settings
class Sparse:
    """Matrices of which many numbers are zero, stay zero in training, and are not stored."""

    sparsity: Ratio  # share of zeros that was asked for in the pruned matrices
    embeddings: bool = False  # whether the word embeddings are among them

    def of_layers(self, kept: Sequence[int]) -> Sparse:
        """The same: it counts no layers."""
        return self


@settings
class Quantizers:
    """All matrices of the encoder's layers round their inputs and weights to int8 (quantization-aware training)."""

    weight_bits: Literal[7, 8] = 8  # 7: x86 processors without VNNI cannot overflow
    smoothed: bool = False  # each matrix has a factor for each channel of its input, which is multiplied by it first

    def of_layers(self, kept: Sequence[int]) -> Quantizers:
        """The same: every layer that is left rounds."""
        return self


@settings
class Recurrent:
    """A BiLSTM stands in the place of the transformer layers; half of the hidden size is each direction's."""

    layers: Count  # of the LSTM
    embedding_size: Count | None = None  # width of the embeddings; None: the stock model's
    summary: bool = True  # the state at position 0 sums the text up

    def of_layers(self, kept: Sequence[int]) -> Recurrent:
        """The same: it has no transformer layers."""
        return self


@settings
class Convolutional:
    """Convolutions over neighbouring tokens stand in the place of the transformer layers."""

    windows: list[Count]  # tokens that the filters see at once; each window has an equal share of the hidden size
    layers: Count = 1
    embedding_size: Count | None = None  # width of the embeddings; None: the stock model's
    summary: bool = True  # the state at position 0 sums the text up

    def of_layers(self, kept: Sequence[int]) -> Convolutional:
        """The same: it has no transformer layers."""
        return self


@settings
class SplitLayers:
    """Lower layers in which the two texts of an input do not see each other (DeFormer)."""

    layers: Whole  # how many, from the bottom
    second_position: Whole  # where the second text's positions begin, whatever the length of the first

    def of_layers(self, kept: Sequence[int]) -> SplitLayers:
        """The same where only some layers are left."""
        return dataclasses.replace(self, layers=sum(old < self.layers for old in kept))


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
    setting: NonNegative  # default: DACT's margin, DeeBERT's entropy in nats, PABEE's patience in exits
    head: ExitHead = "linear"  # an exit is one product, or dense and tanh before it
    summary: Summary = "mean"  # what the exits read of a layer; the last layer's head reads the first token
    bound: Bound = "tight"  # DACT
    threshold: Probability = 0.5  # of several labels, each is predicted from here on
    tolerance: NonNegative = 0.1  # numbers (regression) agree that differ by at most this, in the label's unit
    exits: list[Count] | None = None  # layers with an exit, from 1, in order; None: all but the last

    def exits_of(self, layers: int) -> list[int]:
        """Indices from 0 of the layers that have an exit, of so many; the last one has the model's own head."""
        return list(range(layers - 1)) if self.exits is None else [number - 1 for number in self.exits]

    def impossible(self, layers: int) -> str | None:
        """Why a model of so many layers cannot stop by this; None: it can."""
        exits = self.exits_of(layers)
        if not exits:
            return f"a model of {layers} layers has no exit left to stop at."
        if self.method == "pabee" and self.setting >= len(exits):
            return (
                f"patience {self.setting:g} needs {self.setting + 1:g} exits or more, as the first agrees with none, "
                f"and the model has {len(exits)}: it would always run in full."
            )
        return refused_setting(self.method, self.setting)

    def refusal(self, asked: AdaptiveDepth) -> str | None:
        """Why exits as these cannot go on as those that are asked for; None: they can."""
        if self.method != asked.method:
            return f"the model has exits of {self.method}, which {asked.method} cannot go on from."
        if self.head != asked.head:
            return f"the model has {self.head} exits, which cannot become {asked.head} ones."
        if self.summary != asked.summary:
            return f"the model has exits that read summary: {self.summary}, which {asked.summary} would make worthless."
        if self.exits != asked.exits:
            return f"the model has exits behind {_behind(self.exits)}, which cannot move to {_behind(asked.exits)}."
        return None

    def of_layers(self, kept: Sequence[int]) -> AdaptiveDepth:
        """The same exits behind the layers that are left; the last one answers by the model's own head."""
        if self.exits is None:
            return self
        left = [place for place, old in enumerate(kept[:-1], start=1) if old + 1 in self.exits]
        return dataclasses.replace(self, exits=left)


def refused_setting(method: DepthMethod, setting: float) -> str | None:
    """Why a depth dial cannot be set so, whatever the model; None: it can."""
    if method == "dact" and setting > 1:
        return f"{setting:g} is no margin: give a number from 0 (the promise) to 1 (the first exit)."
    if method == "pabee" and (setting < 1 or setting != int(setting)):
        return f"{setting:g} is no patience: give a whole number of exits, 1 or more."
    return None


def _behind(exits: Sequence[int] | None) -> str:
    return "every layer" if exits is None else "layers " + ", ".join(map(str, exits))


@settings
class Structure:
    """All structural changes of a model; a stock model has none. `models.kinds.registry` makes them, in this order."""

    widths: Widths | None = None
    recurrent: Recurrent | None = None
    convolutional: Convolutional | None = None
    embedding_rank: EmbeddingRank | None = None  # of the embeddings that a BiLSTM or a CNN brings along, too
    low_rank: LowRank | None = None
    shared_layers: SharedLayers | None = None
    sparse: Sparse | None = None
    quantizers: Quantizers | None = None
    split_layers: SplitLayers | None = None
    length_adaptive: LengthAdaptive | None = None
    adaptive_depth: AdaptiveDepth | None = None

    @property
    def is_stock(self) -> bool:
        """Whether plain transformers would load the model rightly."""
        return not self.kinds()

    @property
    def computes_as_stock(self) -> bool:
        """Whether the model, once it is loaded, is a stock one: only its file is of another kind."""
        return not self.kinds().keys() - {"sparse"}

    @property
    def other_encoder(self) -> Recurrent | Convolutional | None:
        """What stands in the place of the transformer layers; None: they are there."""
        return self.recurrent or self.convolutional

    def to_config(self) -> dict[str, Any]:
        """The entry for `config.json`; kinds that do not apply are left out."""
        return {name: dataclasses.asdict(kind) for name, kind in self.kinds().items()}

    def with_layers(self, kept: Sequence[int]) -> Structure:
        """The structure of the same model with only the layers `kept` (indices from 0) left."""
        owners = [self.shared_layers.layers[old] for old in kept] if self.shared_layers else kept
        by_name = ("low_rank",)  # kinds whose entries name the layers that own weights
        return Structure(
            **{name: kind.of_layers(owners if name in by_name else kept) for name, kind in self.kinds().items()}
        )

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


def with_structure(config: Mapping[str, Any], structure: Structure) -> dict[str, Any]:
    """A `config.json` with another structure; one that becomes stock again says so by its model type."""
    ours = config.get("compressor", {})
    base = ours.get("base_model_type", config.get("model_type"))
    changed = {key: value for key, value in config.items() if key != "compressor"}
    if structure.is_stock:
        return {**changed, "model_type": base}
    ours = {**ours, "base_model_type": base, "structure": structure.to_config()}
    return {**changed, "model_type": MODEL_TYPE, "compressor": ours}
