"""The stage `dynabert`: one model that serves several widths and depths (Hou et al. 2020, DynaBERT).

A model that serves only its own size is rewired first: heads and units are put in order of importance, so that every
narrower model is its beginning; all widths then learn from the run's teacher, which stays as it is. A model that has
been through this stage is rewired already: it becomes the guide of its own smaller sizes, at the same width and full
depth. So the paper's two steps are the stage twice: `depths: [1.0]` first, then with the depths.

The result is the whole model; `take_size` cuts one of the sizes out of it.
"""

from __future__ import annotations

from typing import Any, cast

from torch import nn

from compressor.models import checkpoint as checkpoints
from compressor.models.elastic import ELASTIC, sizes_of
from compressor.models.kinds.widths import narrow
from compressor.stages.context import Checkpoint, StageContext
from compressor.stages.distill.objective import Distillation
from compressor.stages.distill.parts import Shape
from compressor.stages.distill.pupil import Pupil
from compressor.stages.dynabert.lessons import lessons
from compressor.stages.dynabert.objective import EverySize, Size
from compressor.stages.dynabert.settings import DynabertSettings
from compressor.stages.dynabert.shape import sizes_entry
from compressor.stages.dynabert.sizes import layers_at, widths_at
from compressor.stages.prune_widths.settings import BY_GRADIENTS
from compressor.stages.teacher import load_teacher
from compressor.tasks.base import Task
from compressor.training import train, training_device
from compressor.training.batches import Batch
from compressor.training.importance import importance
from compressor.training.ranking import ranking
from compressor.training.sample import sample_batches


def run(source: Checkpoint, settings: DynabertSettings, context: StageContext) -> Checkpoint:
    """Train all sizes on `context.data.train` and write the whole model to `context.output`.

    Raises:
        RequestError: Teacher and student have different vocabularies, or widths that `hidden` cannot compare.
        CheckpointError: A checkpoint cannot be loaded for the task.
        TrainingError: The loss is no longer a number, or there is no training data.
    """
    config = checkpoints.read_config(source.path)
    tokenizer = checkpoints.load_tokenizer(source.path)
    student: nn.Module = checkpoints.load(source.path, context.task)
    again = sizes_of(config) is not None
    guide = load_teacher(context, tokenizer, teacher=source if again else None)
    matchings = lessons(settings, Shape.of(config), Shape.of(checkpoints.config_to_save(guide)))
    if not again:
        batches = (
            sample_batches(context, tokenizer, settings.samples, title="dynabert")
            if settings.importance in BY_GRADIENTS
            else []
        )
        rewire(student, settings.importance, batches, context.task, context.seed)
    guide.to(training_device())
    objective = EverySize(
        _sizes(config, settings),
        {depth: Distillation(guide, context.task, each, settings.temperature) for depth, each in matchings.items()},
        guide_narrows=again,
    )
    features = context.task.features(context.data.train, tokenizer, labelled=True)
    train(Pupil(student, {}), features, context.task, settings, objective, context, tokenizer, title="dynabert")
    setattr(cast(Any, student).config, ELASTIC, sizes_entry(settings))
    checkpoints.save(student, tokenizer, context.output)
    return Checkpoint(context.output, source.key)


def rewire(model: nn.Module, kind: Any, batches: list[Batch], task: Task, seed: int) -> None:
    """Put heads and units of each layer in order of importance, the most important first; the outputs stay the same."""
    found = importance(kind, model, batches, task, seed)
    narrow(
        model,
        [ranking(scores.tolist()) for scores in found.heads],
        [ranking(scores.tolist()) for scores in found.units],
    )


def _sizes(config: dict[str, Any], settings: DynabertSettings) -> dict[float, list[Size]]:
    layers = Shape.of(config).layers
    return {
        width: [
            Size(depth, layers_at(depth, layers), widths_at(width, config))
            for depth in sorted(settings.depths, reverse=True)
        ]
        for width in settings.widths
    }
