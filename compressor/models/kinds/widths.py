"""Layers of uneven width: what each has by its `config.json`, and modules of that size.

A head takes its rows of the query, key and value weights and its columns of the attention's output weights; an inner
unit of the feed-forward block its row of the one and its column of the other product.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import TYPE_CHECKING, Any, TypeVar, cast

from compressor.errors import CheckpointError
from compressor.models.families import Family, family_of, family_of_model
from compressor.models.structure import Structure, Widths, with_structure

if TYPE_CHECKING:
    from torch import Tensor, nn

Model = TypeVar("Model", bound="nn.Module")


@dataclass(frozen=True)
class LayerWidth:
    """How wide one layer is inside."""

    heads: int
    head_size: int
    feed_forward: int

    @property
    def attention(self) -> int:
        """Width of queries, keys and values."""
        return self.heads * self.head_size


def layer_widths(config: Mapping[str, Any]) -> list[LayerWidth]:
    """The width of every layer, by a `config.json` mapping. Imports no torch.

    Raises:
        CheckpointError: The structure has not one entry a layer.
    """
    return _layer_widths(family_of(config), config, Structure.from_config(config).widths)


def model_widths(model: nn.Module) -> list[LayerWidth]:
    """The same of a loaded model."""
    config = cast(Any, model).config.to_dict()
    return _layer_widths(family_of_model(model), config, getattr(model, "widths", None))


def _layer_widths(family: Family, config: Mapping[str, Any], widths: Widths | None) -> list[LayerWidth]:
    layers = family.layer_count(config)
    if widths is None:
        heads = family.head_count(config)
        size = family.hidden_size(config) // heads
        return [LayerWidth(heads, size, family.intermediate_size(config))] * layers
    _check(widths, layers)
    return [
        LayerWidth(heads, widths.head_size, inner)
        for heads, inner in zip(widths.heads, widths.feed_forward, strict=True)
    ]


def even_widths(config: Mapping[str, Any]) -> Widths:
    """The widths of a model, as a structure that stages can narrow."""
    layers = layer_widths(config)
    return Widths(
        heads=[layer.heads for layer in layers],
        feed_forward=[layer.feed_forward for layer in layers],
        head_size=layers[0].head_size,
    )


def with_widths(config: Mapping[str, Any], widths: Widths) -> dict[str, Any]:
    """The `config.json` of a model whose layers became this wide inside.

    Where every layer has the same and its heads fill the hidden size, plain transformers says it by itself; otherwise
    the structure does, and the number of heads beside it is only one that transformers builds a model with.
    """
    family = family_of(config)
    changed, hidden = dict(config), family.hidden_size(config)
    heads, units = set(widths.heads), set(widths.feed_forward)
    even = len(heads) == len(units) == 1 and widths.heads[0] * widths.head_size == hidden
    if even:
        changed[family.heads_key], changed[family.intermediate_key] = widths.heads[0], widths.feed_forward[0]
    elif hidden % family.head_count(config):
        changed[family.heads_key] = next(n for n in range(family.head_count(config), 0, -1) if hidden % n == 0)
    structure = dataclasses.replace(Structure.from_config(config), widths=None if even else widths)
    return with_structure(changed, structure)


def with_hidden_size(config: Mapping[str, Any], size: int) -> dict[str, Any]:
    """The `config.json` of a model whose residual stream got another width; its heads keep their size."""
    family, widths = family_of(config), even_widths(config)
    changed = {**config, family.hidden_key: size}
    if family.embedding_key and family.embedding_size(config) == family.hidden_size(config):
        changed[family.embedding_key] = size
    return with_widths(changed, widths)


def make_widths(model: Model, widths: Widths) -> Model:
    """Give every layer of a stock model modules of its own width, with new random weights where it changed; in place.

    Raises:
        CheckpointError: Not one entry a layer.
    """
    family = family_of_model(model)
    layers = family.layers_of(model)
    _check(widths, len(layers))
    for layer, heads, inner in zip(layers, widths.heads, widths.feed_forward, strict=True):
        attention = heads * widths.head_size
        for path in (family.query, family.key, family.value, family.feed_forward_in):
            _resize(layer, path, rows=inner if path == family.feed_forward_in else attention)
        _resize(layer, family.attention_output, columns=attention)
        _resize(layer, family.feed_forward_out, columns=inner)
        tell_attention(layer, family, heads, widths.head_size)
    cast(Any, model).widths = widths
    return model


def narrow(model: Model, heads: Sequence[Sequence[int]], units: Sequence[Sequence[int]]) -> Model:
    """Keep only some heads and inner units of each layer, with their weights, in place.

    Args:
        model: A task model, already narrowed or not.
        heads: Indices from 0 of the heads that stay, for every layer.
        units: The same for the inner units of the feed-forward blocks.
    """
    import torch

    family = family_of_model(model)
    size = model_widths(model)[0].head_size
    for layer, kept_heads, kept_units in zip(family.layers_of(model), heads, units, strict=True):
        rows = torch.tensor([head * size + place for head in kept_heads for place in range(size)], dtype=torch.long)
        for path in (family.query, family.key, family.value):
            _select(layer, path, rows=rows)
        _select(layer, family.attention_output, columns=rows)
        inner = torch.tensor(list(kept_units), dtype=torch.long)
        _select(layer, family.feed_forward_in, rows=inner)
        _select(layer, family.feed_forward_out, columns=inner)
        tell_attention(layer, family, len(kept_heads), size)
    widths = Widths(heads=[len(kept) for kept in heads], feed_forward=[len(kept) for kept in units], head_size=size)
    _note(model, family, widths)
    return model


def head_count(layer: nn.Module, family: Family) -> int:
    """Number of heads of one loaded layer."""
    attention = attrgetter(family.query.rpartition(".")[0])(layer)
    return int(getattr(attention, "num_attention_heads", None) or attention.n_heads)


def _check(widths: Widths, layers: int) -> None:
    found = len(widths.heads), len(widths.feed_forward)
    if found != (layers, layers):
        raise CheckpointError(f"widths has {found[0]} and {found[1]} entries, the model has {layers} layers.")


def _note(model: nn.Module, family: Family, widths: Widths) -> None:
    """Write the widths where they belong: into the model's own config if stock transformers can say them."""
    owner = cast(Any, model)
    config = with_widths({**owner.config.to_dict(), "compressor": {}}, widths)
    for key in (family.heads_key, family.intermediate_key):
        setattr(owner.config, key, config[key])
    owner.widths = Structure.from_config(config).widths


def tell_attention(layer: nn.Module, family: Family, heads: int, size: int) -> None:
    """What transformers' attention modules keep of their own shape."""
    attention = attrgetter(family.query.rpartition(".")[0])(layer)
    if hasattr(attention, "num_attention_heads"):
        attention.num_attention_heads, attention.attention_head_size = heads, size
        attention.all_head_size = heads * size
    else:
        attention.n_heads, attention.dim = heads, heads * size


def _resize(layer: nn.Module, path: str, *, rows: int | None = None, columns: int | None = None) -> None:
    from torch import nn

    old: nn.Linear = attrgetter(path)(layer)
    shape = (old.in_features if columns is None else columns, old.out_features if rows is None else rows)
    if shape != (old.in_features, old.out_features):
        _replace(layer, path, nn.Linear(*shape, bias=old.bias is not None))


def _select(layer: nn.Module, path: str, *, rows: Tensor | None = None, columns: Tensor | None = None) -> None:
    import torch
    from torch import nn

    old: nn.Linear = attrgetter(path)(layer)
    with torch.no_grad():
        weight = old.weight if rows is None else old.weight[rows]
        weight = weight if columns is None else weight[:, columns]
        new = nn.Linear(weight.shape[1], weight.shape[0], bias=old.bias is not None)
        new.weight.copy_(weight)
        if old.bias is not None:
            new.bias.copy_(old.bias if rows is None else old.bias[rows])
    _replace(layer, path, new)


def _replace(layer: nn.Module, path: str, module: nn.Module) -> None:
    parent, _, name = path.rpartition(".")
    setattr(attrgetter(parent)(layer), name, module)
