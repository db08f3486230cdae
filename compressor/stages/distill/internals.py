"""Reading a model's hidden states and projections while it runs, by hooks; nothing else is kept.

Hooks sit on the projections and norms that `models.families` names, so that the attention kernel stays what it is,
and a length-adaptive model is read like a stock one.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from operator import attrgetter
from typing import Any

from torch import Tensor, nn

from compressor.models.families import Family, family_of_model
from compressor.models.length_adaptive import whole_inputs
from compressor.stages.distill.parts import Part


class _SeenAllError(Exception):
    """Ends a forward pass from which nothing more is needed."""


def observe(
    model: nn.Module, inputs: Mapping[str, Tensor], parts: Collection[Part], *, outputs: bool
) -> tuple[dict[str, Tensor], dict[Part, Tensor]]:
    """Run a task model at full length; give its outputs and the wanted parts.

    Without `outputs` the pass ends as soon as every part was seen: layers above and the head are not computed.
    """
    if not parts and not outputs:
        return {}, {}
    family = family_of_model(model)
    wanted = set(parts)
    seen: dict[Part, Tensor] = {}

    def remember(part: Part) -> Any:
        def hook(module: nn.Module, arguments: Any, result: Tensor) -> None:
            seen[part] = result
            if not outputs and len(seen) == len(wanted):
                raise _SeenAllError

        return hook

    hooks = [_module(model, family, part).register_forward_hook(remember(part)) for part in wanted]
    try:
        result = model(**whole_inputs(model, inputs))
        named = {name: value for name, value in result.items() if isinstance(value, Tensor)}
    except _SeenAllError:
        named = {}
    finally:
        for hook in hooks:
            hook.remove()
    return named, seen


def _module(model: nn.Module, family: Family, part: Part) -> nn.Module:
    backbone: Any = family.backbone_of(model)
    if part.kind == "hidden" and part.layer == 0:
        projection = getattr(backbone, family.projection, None) if family.projection else None
        module = projection if projection is not None else getattr(backbone, family.embeddings)
    else:
        paths = {
            "hidden": family.feed_forward_norm,
            "query": family.query,
            "key": family.key,
            "value": family.value,
        }
        module = attrgetter(paths[part.kind])(family.layers_of(model)[part.layer - 1])
    return module  # type: ignore[no-any-return]
