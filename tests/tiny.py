"""Settings that make a whole run small: a few examples, two updates, one round of measuring."""

from __future__ import annotations

from compressor.config.training import TrainingSettings
from compressor.request import Request, build

DATA = ["data.demo_train=40", "data.demo_dev=8", "data.calibration=4", "data.search=8"]
INPUT = ["features.max_length=64", "features.doc_stride=16"]
MEASURE = ["measure.runs=2", "measure.rounds=1", "measure.warmup=1", "gates.max_metric_drop=null"]


def settings(recipe: str, output: object, *more: str) -> list[str]:
    """Overrides for a tiny run of a recipe."""
    base = [f"recipe={recipe}", f"output={output}", *DATA, *MEASURE]
    request = build([*base, *more])
    if request.task == "question-answering":
        base += INPUT
    else:
        base += INPUT[:1]
    for entry in request.stages:
        if isinstance(entry.settings, TrainingSettings):
            base += [f"recipe.stages.{entry.key}.max_steps=2", f"recipe.stages.{entry.key}.batch_size=4"]
    for entry in request.passes:
        if entry.spec.name == "search_lengths":
            base += [f"recipe.passes.{entry.key}.max_evaluations=4", f"recipe.passes.{entry.key}.latency_runs=1"]
    return [*base, *more]


def request(recipe: str, output: object, *more: str) -> Request:
    """A tiny request."""
    return build(settings(recipe, output, *more))
