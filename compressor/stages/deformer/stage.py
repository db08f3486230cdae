"""The stage `deformer`: question and passage are apart in the lower layers, together in the upper ones.

Cao et al. 2020, "DeFormer: Decomposing Pre-trained Transformers for Faster Question Answering". The model learns the
task, the teacher's answers, and in the upper layers the hidden states of the teacher, which sees both texts in every
layer. What it saves comes with the two halves that the artifact also has (`graph.halves`): the lower layers of a
passage run once for all questions. As one graph the model computes as much as before.
"""

from __future__ import annotations

from typing import Any, cast

from compressor.models import checkpoint as checkpoints
from compressor.models.families import family_of_model
from compressor.models.kinds.split_layers import make_split_layers
from compressor.stages.context import Checkpoint, StageContext
from compressor.stages.deformer.settings import DeformerSettings
from compressor.stages.deformer.shape import examine, shape, structure_of
from compressor.stages.distill.lesson import lesson
from compressor.stages.distill.student import load_student
from compressor.training import train


def run(source: Checkpoint, settings: DeformerSettings, context: StageContext) -> Checkpoint:
    """Split the lower layers, teach the result, and write it to `context.output`.

    Raises:
        RequestError: Layers or positions that the model does not have, data without pairs of texts, or a teacher that
            the model cannot learn from.
        CheckpointError: The checkpoint cannot be loaded for the task.
        TrainingError: The loss is no longer a number.
    """
    config = checkpoints.read_config(source.path)
    shape(config, checkpoints.read_config(context.teacher.path), settings)
    examine(settings, context.teacher.path, context.data)
    model, tokenizer = load_student(source, context)
    features = context.task.features(context.data.train, tokenizer, labelled=True)
    separator = tokenizer.sep_token_id
    cast(Any, model).config.sep_token_id = separator
    split = structure_of(config, settings)
    make_split_layers(model, split)
    layers = len(family_of_model(model).layers_of(model))
    together = range(split.layers + 1, layers + 1)
    pupil, objective = lesson(model, settings.losses(), context, tokenizer=tokenizer, hidden_layers=together)
    train(pupil, features, context.task, settings, objective, context, tokenizer, title="deformer")
    checkpoints.save(model, tokenizer, context.output)
    return Checkpoint(context.output, source.key)
