"""The stage `squeeze`: a smaller model whose weights are a learned linear map of the larger one's (Chumachenko 2020).

The maps learn by distillation from the teacher, with the losses of `distill`; afterwards they are multiplied out, and
what is left is an ordinary smaller checkpoint.
"""

from __future__ import annotations

from compressor.models import checkpoint as checkpoints
from compressor.models.families import family_of
from compressor.stages.context import Checkpoint, StageContext
from compressor.stages.distill.lesson import lesson
from compressor.stages.squeeze.maps import map_weights, mapped_weights, names, random, selecting
from compressor.stages.squeeze.settings import SqueezeSettings
from compressor.stages.squeeze.shape import shape
from compressor.training import train


def run(source: Checkpoint, settings: SqueezeSettings, context: StageContext) -> Checkpoint:
    """Squeeze the checkpoint on `context.data.train` and write the smaller model to `context.output`.

    Raises:
        RequestError: A student that is not smaller or cannot learn like this, or a model that is not stock.
        CheckpointError: The checkpoint or the teacher cannot be loaded for the task.
    """
    config = shape(checkpoints.read_config(source.path), checkpoints.read_config(context.teacher.path), settings)
    large = checkpoints.load(source.path, context.task)
    tokenizer = checkpoints.load_tokenizer(source.path)
    student = checkpoints.build(config, context.task, where="squeeze: student", seed=context.seed)
    wanted = names(student)
    heads = family_of(config).head_count(config)
    map_weights(student, large, selecting(large, heads) if settings.start == "select" else random(context.seed))
    pupil, objective = lesson(student, settings, context, tokenizer=tokenizer)
    features = context.task.features(context.data.train, tokenizer, labelled=True)
    train(pupil, features, context.task, settings, objective, context, tokenizer, title="squeeze")
    result = checkpoints.build(config, context.task, where="squeeze: student", seed=context.seed)
    result.load_state_dict(mapped_weights(student, wanted), strict=False)
    checkpoints.save(result, tokenizer, context.output)
    return Checkpoint(context.output, source.key)
