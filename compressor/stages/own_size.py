"""The mark `elastic` goes as soon as a stage makes a model serve one size again. Imports nothing heavy.

`dynabert` trains a model for several sizes. Whatever trains or changes the whole model afterwards leaves parts of it
that nobody trained, so that none of them may be cut out any more. Stages need not know of this: the registry wraps
what they foretell and what they do.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from compressor.models.config_file import read_config, write_config
from compressor.models.elastic import ELASTIC, without_sizes
from compressor.stages.context import Checkpoint, StageContext

Shape = Callable[[dict[str, Any], dict[str, Any], Any], dict[str, Any]]
RunStage = Callable[[Checkpoint, object, StageContext], Checkpoint]


def foretold(shape: Shape) -> Shape:
    """The same shape of a model that serves its own size alone."""

    def shape_of_one_size(config: dict[str, Any], teacher: dict[str, Any], settings: Any) -> dict[str, Any]:
        return without_sizes(shape(config, teacher, settings))

    return shape_of_one_size


def written(run: RunStage) -> RunStage:
    """The same work, whose checkpoint does not say that it serves other sizes."""

    @functools.wraps(run)
    def run_to_one_size(source: Checkpoint, settings: object, context: StageContext) -> Checkpoint:
        result = run(source, settings, context)
        config = read_config(result.path)
        if ELASTIC in config:
            write_config(without_sizes(config), result.path)
        return result

    return run_to_one_size
