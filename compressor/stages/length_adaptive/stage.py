"""The stage `length_adaptive`: a checkpoint that works at any token budget.

Kim & Cho 2020, "Length-Adaptive Transformer: Train Once with Length Drop, Use Anytime with Search"; in the setting of
QuaLA-MiniLM (Guskin et al. 2022). It trains for every length; which lengths to use is chosen later, on the graph.
"""

from __future__ import annotations

from compressor.models import checkpoint
from compressor.models.families import family_of_model
from compressor.models.kinds.length_adaptive import make_length_adaptive
from compressor.stages.context import Checkpoint, StageContext
from compressor.stages.length_adaptive.objective import SandwichObjective
from compressor.stages.length_adaptive.settings import LengthAdaptiveSettings
from compressor.stages.length_adaptive.shape import structure_of
from compressor.stages.teacher import load_teacher
from compressor.training import train, training_device


def run(source: Checkpoint, settings: LengthAdaptiveSettings, context: StageContext) -> Checkpoint:
    """Train a checkpoint with LengthDrop; one that already is length-adaptive trains on.

    The result keeps all tokens by default (`keep` is 1 everywhere), or what its source kept, such as the lengths that
    PoWER-BERT learned. Token and span tasks restore dropped tokens; those with one answer a text always keep the token
    at position 0 instead.

    Raises:
        CheckpointError: The checkpoint cannot be loaded for the task.
        RequestError: `ranking` where nothing can be ranked.
        TrainingError: The loss is no longer a number.
    """
    task = context.task
    model = checkpoint.load(source.path, task)
    tokenizer = checkpoint.load_tokenizer(source.path)
    layers = len(family_of_model(model).layers_of(model))
    before = checkpoint.structure_of(model).length_adaptive
    model = make_length_adaptive(model, structure_of(settings, layers, task.name, before))
    features = task.features(context.data.train, tokenizer, labelled=True)
    guide = load_teacher(context, tokenizer).to(training_device()) if settings.guide == "teacher" else None
    objective = SandwichObjective(task, settings, layers, context.seed, guide)
    train(model, features, task, settings, objective, context, tokenizer, title="length_adaptive")
    checkpoint.save(model, tokenizer, context.output)
    return Checkpoint(context.output, source.key)
