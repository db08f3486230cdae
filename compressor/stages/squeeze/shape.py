"""The shape of a squeezed student, from `config.json` mappings alone: light enough for `plan`."""

from __future__ import annotations

from typing import Any

from compressor.errors import RequestError
from compressor.models.families import Family, family_of
from compressor.models.structure import Structure
from compressor.stages.distill.shape import shape as check_lesson
from compressor.stages.squeeze.settings import SqueezeSettings


def shape(config: dict[str, Any], teacher: dict[str, Any], settings: SqueezeSettings) -> dict[str, Any]:
    """What `config.json` will say after the stage.

    Raises:
        RequestError: A student that is larger, that cannot learn like this, or a model that is not stock.
    """
    kinds = Structure.from_config(config).kinds()
    if kinds:
        raise RequestError(
            f"squeeze: the model has {', '.join(kinds)}, and only the weights of a plain model can be mapped to a "
            "smaller one: put squeeze first."
        )
    family = family_of(config)
    after = {**config, **_sizes(config, family, settings)}
    if family.embedding_key is not None:
        after[family.embedding_key] = _embedding_size(config, after, family)
    return check_lesson(after, teacher, settings)


def _sizes(config: dict[str, Any], family: Family, settings: SqueezeSettings) -> dict[str, int]:
    """Layers, heads and widths by their keys in `config.json`."""
    hidden, heads = family.hidden_size(config), family.head_count(config)
    size = hidden // heads
    wanted = settings.hidden_size
    if settings.heads is not None:
        chosen = settings.heads
    elif wanted is not None:
        chosen = wanted // size if wanted % size == 0 else heads
    else:
        chosen = round(heads * settings.width)
    after = {
        family.layers_key: settings.layers or family.layer_count(config),
        family.hidden_key: wanted or chosen * size,
        family.heads_key: chosen,
        family.intermediate_key: settings.intermediate_size
        or max(1, round(family.intermediate_size(config) * settings.width)),
    }
    for key, value in after.items():
        if value > int(config[key]):
            raise RequestError(f"squeeze: {key} {value} is larger than the model's, {config[key]}.")
    if not chosen:
        raise RequestError(f"squeeze: width {settings.width:g} leaves none of {heads} heads: give more, or `heads`.")
    if all(value == int(config[key]) for key, value in after.items()):
        raise RequestError("squeeze: the student would be as large as the model: give a smaller `width`, or a shape.")
    if after[family.hidden_key] % chosen:
        raise RequestError(f"squeeze: hidden_size {after[family.hidden_key]} is not a multiple of {chosen} heads.")
    return after


def _embedding_size(config: dict[str, Any], after: dict[str, Any], family: Family) -> int:
    """Embeddings of a width of their own keep it, others shrink with the hidden states."""
    own, hidden = family.embedding_size(config), family.hidden_size(after)
    if own == family.hidden_size(config):
        return hidden
    if own == hidden:
        raise RequestError(
            f"squeeze: at hidden_size {hidden}, the width of the embeddings, the student has no projection between "
            "them: take another hidden_size."
        )
    return own
