"""The length-adaptive encoder: each layer may drop tokens between its attention and its feed-forward block.

Kim & Cho 2020 (Length-Adaptive Transformer). Layer i attends to k_{i-1} tokens; the k_i most significant go on to its
output projection, residual, LayerNorm and feed-forward block. With `restore`, every
token ends with the last *layer output* computed for it (the embeddings for one that the first layer drops), at its
original position, as in the official code.

Only the backbone's forward is replaced. Embeddings, head and all parameter names are the stock model's own.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from operator import attrgetter
from typing import TYPE_CHECKING, Any, TypeVar, cast

import torch
from torch import Tensor, nn
from transformers.modeling_outputs import BaseModelOutputWithPooling

from compressor.errors import DialError
from compressor.models.dial import token_counts
from compressor.models.families import Family, family_of_model
from compressor.models.kinds.adaptive_attention import adaptive_attention
from compressor.models.kinds.two_texts import apart, is_second
from compressor.models.kinds.widths import head_count
from compressor.models.structure import LengthAdaptive, SplitLayers

if TYPE_CHECKING:
    from collections.abc import Iterator

Model = TypeVar("Model", bound=nn.Module)


Rank = tuple[Tensor, Tensor | None]
"""Attention paid by the first real token [batch, k] with its gradient, and where the tokens stood [batch, k]; None:
0, 1, 2 ..."""


Watch = Callable[[int, Tensor, Tensor | None], bool]
"""(layer, hidden [batch, k, hidden], mask [batch, k] or None: all are real) -> whether that is enough."""


@dataclass
class Dial:
    """What one forward pass is asked to do, handed from the task model to its backbone."""

    keep: Tensor | None = None  # [layers] fractions; None: the structure's default
    counts: Sequence[int] | None = None  # tokens that each layer keeps; goes before `keep`
    skip_layers: Collection[int] = ()
    kept: list[Tensor] | None = None  # given: collects the positions kept by each layer, [batch, k_i]
    ranks: list[Rank] | None = None  # given: collects what the first token pays to each where a layer drops
    retention: Tensor | None = None  # [layers, ranks] in [0, 1]: tokens are scaled by it instead of dropped
    watch: Watch | None = None  # asked after each layer; True: stop


@dataclass
class _Sequence:
    """The tokens still alive, and those that fell away."""

    hidden: Tensor  # [batch, k, hidden]
    mask: Tensor | None  # [batch, k]
    positions: Tensor | None = None  # [batch, k] original positions; None: 0, 1, 2 ...
    dropped_states: list[Tensor] = field(default_factory=list)
    dropped_positions: list[Tensor] = field(default_factory=list)


def make_length_adaptive(model: Model, settings: LengthAdaptive) -> Model:
    """Turn a stock task model into a length-adaptive one, in place; parameters and their names stay the same.

    The model's forward then takes `keep` (float32 [layers]), and for training `counts` and `skip_layers`. A model
    that already is length-adaptive gets the new settings.

    Raises:
        DialError: `settings.keep` has not one entry a layer, or the model keeps texts apart.
    """
    family = family_of_model(model)
    layers = len(family.layers_of(model))
    if len(settings.keep) != layers:
        raise DialError(f"keep has {len(settings.keep)} entries, the model has {layers} layers: give one a layer.")
    backbone = family.backbone_of(model)
    if getattr(backbone, "split_layers", None) is not None:
        raise DialError("a model with split_layers drops no tokens: they cannot be ranked where texts are kept apart.")
    if not isinstance(backbone, LengthAdaptiveBackbone):
        _mix_in(LengthAdaptiveModel, model)
        _mix_in(LengthAdaptiveBackbone, backbone)
    cast(Any, model).length_adaptive = settings
    cast(Any, backbone).family = family
    cast(Any, backbone).length_adaptive = settings
    cast(Any, backbone).dial = Dial()
    return model


def make_whole(model: Model, *, restore: bool) -> Model:
    """Let a model run in this encoder without a dial: no token is ever dropped, and none of its structure is noted."""
    layers = len(family_of_model(model).layers_of(model))
    make_length_adaptive(model, LengthAdaptive(keep=[1.0] * layers, restore=restore, protect_first=not restore))
    cast(Any, model).length_adaptive = None
    return model


def whole_inputs(model: nn.Module, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Keyword arguments for a forward pass of any task model at full length, of the inputs that it reads."""
    segments = family_of_model(model).reads_segments(getattr(model.config, "type_vocab_size", None))
    arguments = {name: value for name, value in inputs.items() if segments or name != "token_type_ids"}
    adaptive: LengthAdaptive | None = getattr(model, "length_adaptive", None)
    if adaptive is not None:
        arguments["keep"] = torch.ones(len(adaptive.keep))
    return arguments


def _mix_in(mixin: Any, module: Any) -> None:
    module.__class__ = _subclass(mixin, cast(Any, type(module)))


@cache
def _subclass(mixin: Any, stock: Any) -> Any:
    return type(f"LengthAdaptive{stock.__name__}", (mixin, stock), {"stock_class": stock})


class LengthAdaptiveModel(nn.Module):
    """Mixed into a stock task model: takes the dial and hands it to the backbone; the head stays stock."""

    length_adaptive: LengthAdaptive
    stock_class: type

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        keep: Tensor | None = None,
        *,
        counts: Sequence[int] | None = None,
        skip_layers: Collection[int] = (),
        ranks: list[Rank] | None = None,
        retention: Tensor | None = None,
        **stock: Any,
    ) -> Any:
        """Run the model at a length configuration.

        Args:
            input_ids: [batch, length]; `attention_mask` and `token_type_ids` alike.
            attention_mask: Nonzero for real tokens; None: all are real.
            token_type_ids: Segment numbers, for families that have them.
            keep: Fractions of the input's real tokens that each layer keeps, [layers]; None: the structure's default.
                What is out of range is clamped.
            counts: Tokens that each layer keeps, instead of `keep`; clamped to what the layer before kept.
            skip_layers: Layers that are not run (LayerDrop); their length is handed on.
            ranks: Given: collects the attention that ranks tokens, an entry a layer that drops (`significance: first`).
            retention: What the tokens of each rank of significance are multiplied by after each layer's attention,
                instead of dropping any (PoWER-BERT's soft extraction), [layers, ranks]; see `stretched`.
            stock: Further arguments of the stock model, such as labels.
        """
        if token_type_ids is not None and family_of_model(self).has_token_types:
            stock["token_type_ids"] = token_type_ids
        with self.dialled(Dial(keep, counts, skip_layers, ranks=ranks, retention=retention)):
            return super().forward(input_ids=input_ids, attention_mask=attention_mask, **stock)

    @torch.no_grad()
    def tokens_kept(self, keep: Tensor | None = None, **inputs: Tensor) -> list[Tensor]:
        """Original positions that each layer keeps, int64 [batch, k_i] a layer, the most significant first."""
        kept: list[Tensor] = []
        with self.dialled(Dial(keep, kept=kept)):
            if not family_of_model(self).has_token_types:
                inputs.pop("token_type_ids", None)
            super().forward(**inputs)
        return kept

    @contextmanager
    def dialled(self, dial: Dial) -> Iterator[None]:
        """Ask the backbone for something, for as long as the context lasts."""
        backbone = cast(LengthAdaptiveBackbone, family_of_model(self).backbone_of(self))
        before, backbone.dial = backbone.dial, dial
        try:
            yield
        finally:
            backbone.dial = before


class LengthAdaptiveBackbone(nn.Module):
    """Mixed into a stock backbone: its embeddings, layers and pooler, with tokens dropped on the way."""

    family: Family
    length_adaptive: LengthAdaptive
    dial: Dial

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        output_hidden_states: bool | None = None,
        **ignored: Any,
    ) -> BaseModelOutputWithPooling:
        """Encode: `last_hidden_state` [batch, length, hidden] (without `restore` [batch, k_last, hidden])."""
        if input_ids is None:
            raise ValueError("a length-adaptive encoder needs input_ids")
        split: SplitLayers | None = getattr(self, "split_layers", None)
        states = embed(self, self.family, input_ids, token_type_ids)
        others = None if split is None else apart(is_second(input_ids, cast(Any, self).config.sep_token_id))
        if attention_mask is None:
            attention_mask = torch.ones_like(input_ids)
        counts = (
            self._counts(attention_mask) if split is None else [input_ids.shape[1]] * len(self.length_adaptive.keep)
        )
        if output_hidden_states is None:
            output_hidden_states = cast(Any, self).config.output_hidden_states
        hidden_states, retention = [states], self.dial.retention
        tokens = _Sequence(states, None if bool(attention_mask.all()) else attention_mask)
        for index, layer in enumerate(attrgetter(self.family.layers)(self)):
            if index not in self.dial.skip_layers:
                unseen = others if split is not None and index < split.layers else None
                self._run_layer(layer, tokens, counts[index], None if retention is None else retention[index], unseen)
            if self.dial.kept is not None:
                self.dial.kept.append(_positions(tokens))
            if output_hidden_states:
                hidden_states.append(tokens.hidden)
            if self.dial.watch is not None and self.dial.watch(index, tokens.hidden, tokens.mask):
                break
        last = _restored(tokens) if self.length_adaptive.restore else tokens.hidden
        pooler = getattr(self, self.family.pooler, None) if self.family.pooler else None
        return BaseModelOutputWithPooling(
            last_hidden_state=cast(Any, last),
            pooler_output=pooler(last) if pooler is not None else None,
            hidden_states=cast(Any, tuple(hidden_states)) if output_hidden_states else None,
        )

    def _counts(self, attention_mask: Tensor) -> Sequence[int]:
        """k_1 ... k_layers."""
        settings, dial = self.length_adaptive, self.dial
        asked = settings.keep if dial.keep is None else dial.keep.tolist()
        if len(asked) != len(settings.keep):
            raise DialError(f"keep has {len(asked)} entries, the model has {len(settings.keep)} layers.")
        if dial.counts is not None:
            if len(dial.counts) != len(settings.keep):
                raise DialError(f"counts has {len(dial.counts)} entries, the model has {len(settings.keep)} layers.")
            return dial.counts
        real = attention_mask != 0
        if settings.protect_first:  # position 0 always stays, so it counts as real
            real = torch.cat([torch.ones_like(real[:, :1]), real[:, 1:]], dim=1)
        longest = int(real.sum(dim=1).max())
        return token_counts(longest, asked, settings.minimum, padded=real.shape[1])

    def _run_layer(
        self,
        layer: nn.Module,
        tokens: _Sequence,
        count: int,
        retention: Tensor | None = None,
        unseen: Tensor | None = None,
    ) -> None:
        """One encoder layer; changes `tokens`. With `retention` [ranks] they come in order of significance."""
        family = self.family
        keeps_all = count >= tokens.hidden.shape[1] and retention is None
        query = attrgetter(family.query)(layer)
        hidden = tokens.hidden
        paid: list[Tensor] | None = None if self.dial.ranks is None else []
        context, order = adaptive_attention(
            query(hidden),
            attrgetter(family.key)(layer)(hidden),
            attrgetter(family.value)(layer)(hidden),
            tokens.mask,
            None if keeps_all else count,
            heads=head_count(layer, family),
            significance=self.length_adaptive.significance,
            protect_first=self.length_adaptive.protect_first,
            dropout=attrgetter(family.attention_dropout)(layer).p if self.training else 0.0,
            paid=paid,
            apart=unseen,
        )
        if paid and self.dial.ranks is not None:
            self.dial.ranks.append((paid[0], tokens.positions))
        attended = attrgetter(family.attention_output)(layer)(context)
        if family.attention_output_dropout is not None:
            attended = attrgetter(family.attention_output_dropout)(layer)(attended)
        residual = hidden if keeps_all else self._drop(tokens, order, count)
        attended = attrgetter(family.attention_norm)(layer)(attended + residual)
        if retention is not None:
            attended = attended * self._retained(retention, tokens)
        inner = attrgetter(family.activation)(layer)(attrgetter(family.feed_forward_in)(layer)(attended))
        output = attrgetter(family.feed_forward_dropout)(layer)(attrgetter(family.feed_forward_out)(layer)(inner))
        tokens.hidden = attrgetter(family.feed_forward_norm)(layer)(output + attended)

    def _drop(self, tokens: _Sequence, order: Tensor, count: int) -> Tensor:
        """Keep the first `count` of the order: what goes into them. The others leave with the layer before's output."""
        kept = order[:, :count]
        if self.length_adaptive.restore or self.dial.kept is not None:
            positions = order if tokens.positions is None else tokens.positions.gather(1, order)
            tokens.positions = positions[:, :count]
            if self.length_adaptive.restore:
                tokens.dropped_positions.append(positions[:, count:])
                tokens.dropped_states.append(gather_tokens(tokens.hidden, order[:, count:]))
        if tokens.mask is not None:
            tokens.mask = tokens.mask.gather(1, kept)
        return gather_tokens(tokens.hidden, kept)

    def _retained(self, retention: Tensor, tokens: _Sequence) -> Tensor:
        """What each token, by its rank among those of its text, is multiplied by, [batch, k, 1]."""
        batch, length, _ = tokens.hidden.shape
        if tokens.mask is None:
            real = torch.full((batch,), length, device=tokens.hidden.device)
        else:
            real = (tokens.mask != 0).sum(dim=1)
        factors = stretched(retention, real, length)
        if self.length_adaptive.protect_first:
            factors = torch.cat([torch.ones_like(factors[:, :1]), factors[:, 1:]], dim=1)
        return factors.unsqueeze(-1)


def embed(backbone: nn.Module, family: Family, input_ids: Tensor, token_type_ids: Tensor | None) -> Tensor:
    """States [batch, length, hidden] that the first layer reads."""
    extra = {"token_type_ids": token_type_ids} if family.has_token_types else {}
    states = getattr(backbone, family.embeddings)(input_ids=input_ids, **extra)
    projection = getattr(backbone, family.projection, None) if family.projection else None
    return cast(Tensor, states if projection is None else projection(states))


def gather_tokens(states: Tensor, index: Tensor) -> Tensor:
    """Tokens by position: [batch, length, hidden] and int64 [batch, k] to [batch, k, hidden].

    On flattened rows, whose backward pass is the fastest that torch has for it.
    """
    batch, length, width = states.shape
    first_row = torch.arange(batch, device=index.device).unsqueeze(1) * length
    return states.reshape(-1, width)[index + first_row]


def stretched(retention: Tensor, counts: Tensor, length: int) -> Tensor:
    """One curve over ranks for texts of any length: [ranks] and int64 [batch] to [batch, length].

    The k-th of n tokens gets the curve's mean between k/n and (k+1)/n of its width: with n ranks the curve itself, and
    always the same mean over a text's tokens. What comes behind a text's n tokens gets the curve's last value.
    """
    ranks = retention.shape[0]
    edges = torch.arange(length + 1, device=retention.device) / counts.clamp(min=1).unsqueeze(1)
    edges = edges.clamp(max=1) * ranks  # [batch, length + 1]
    below = edges.floor().clamp(max=ranks - 1).long()
    total = torch.cat([retention.new_zeros(1), retention.cumsum(0)])[below] + (edges - below) * retention[below]
    width = edges.diff(dim=1)
    behind = width <= 0
    return torch.where(behind, retention[-1], total.diff(dim=1) / width.masked_fill(behind, 1))


def _restored(tokens: _Sequence) -> Tensor:
    """All tokens at their original positions, by one gather with the inverse permutation."""
    if not tokens.dropped_states or tokens.positions is None:
        return tokens.hidden
    positions = torch.cat([tokens.positions, *tokens.dropped_positions], dim=1)
    states = torch.cat([tokens.hidden, *tokens.dropped_states], dim=1)
    return gather_tokens(states, torch.argsort(positions, dim=1))


def _positions(tokens: _Sequence) -> Tensor:
    if tokens.positions is not None:
        return tokens.positions
    batch, length, _ = tokens.hidden.shape
    return torch.arange(length, device=tokens.hidden.device).expand(batch, length)
