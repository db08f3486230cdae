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
from compressor.models.kinds.length_adaptive import whole_inputs
from compressor.models.kinds.shared_layers import earlier_runs
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
        runs = iter(range(-earlier_runs(family.layers_of(model), part.layer - 1) if part.layer else 0, 1))

        def hook(module: nn.Module, arguments: Any, result: Tensor) -> None:
            if next(runs, 1):  # another layer's, with the same weights
                return
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
    if part.kind == "hidden" and part.layer == 0:
        return family.embedded(model)
    paths = {
        "hidden": family.feed_forward_norm,
        "query": family.query,
        "key": family.key,
        "value": family.value,
    }
    return attrgetter(paths[part.kind])(family.layers_of(model)[part.layer - 1])  # type: ignore[no-any-return]
