"""The pass `set_lengths`: the dial's default as it is asked for, which costs nothing and measures nothing."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import cast

from compressor.errors import PassError
from compressor.graph import dial
from compressor.graph.context import PassContext, PassResult
from compressor.graph.files import load
from compressor.graph.passes.set_lengths.settings import SetLengthsSettings, configuration


def run(source: Path, target: Path, settings: object, context: PassContext) -> PassResult:
    """Write `source` to `target` with another default of its length dial.

    Raises:
        PassError: The graph has no dial.
        DialError: The configuration does not fit the layers, or grows.
    """
    settings = cast(SetLengthsSettings, settings)
    layers = dial.layers(source)
    if layers is None:
        raise PassError(
            f"set_lengths: {source.name} has no length dial (input 'keep'): add the stage length_adaptive to the "
            "recipe, or take the pass set_lengths out."
        )
    keep = dial.check(configuration(settings.keep, layers), layers)
    shutil.copyfile(source, target)
    if dial.kind(load(target, weights=False)) != "required":
        dial.set_default(target, keep)
    return PassResult(target, {"keep": keep})
