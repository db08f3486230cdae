"""The stage `power_bert`: how many tokens each layer keeps is learned once, then the model is trained to do with them.

Goyal et al. 2020, "PoWER-BERT: Accelerating BERT Inference via Progressive Word-vector Elimination". Significance, the
dropping of tokens and the graph are those of the length-adaptive encoder; the learned configuration is its default.
Ranks are stretched over each text's own length, so that a configuration is a fraction of any input's tokens.
"""

from __future__ import annotations

import dataclasses

from compressor.models import checkpoint as checkpoints
from compressor.models.families import family_of_model
from compressor.models.kinds.length_adaptive import make_length_adaptive
from compressor.stages.context import Checkpoint, StageContext
from compressor.stages.power_bert.retention import Retained, Retention, SoftExtraction, configuration
from compressor.stages.power_bert.settings import PowerBertSettings
from compressor.stages.power_bert.shape import all_kept
from compressor.training import task_loss, train


def run(source: Checkpoint, settings: PowerBertSettings, context: StageContext) -> Checkpoint:
    """Learn the retention with the weights, fix how many tokens the layers keep, and train at that.

    Each of both trainings has a folder of its own in `context.work`; a killed run goes on in the one it was in.

    Raises:
        CheckpointError: The checkpoint cannot be loaded for the task.
        TrainingError: The loss is no longer a number.
    """
    task = context.task
    model, tokenizer = checkpoints.load(source.path, task), checkpoints.load_tokenizer(source.path)
    layers = len(family_of_model(model).layers_of(model))
    structure = all_kept(settings, layers, task.name, checkpoints.structure_of(model).length_adaptive)
    model = make_length_adaptive(model, structure)
    features = task.features(context.data.train, tokenizer, labelled=True)
    ranks = settings.ranks or task.max_length
    retention = Retention(layers, ranks, settings.retention_learning_rate)
    first = dataclasses.replace(settings, epochs=settings.search_epochs)
    search = dataclasses.replace(context, work=context.work / "search")
    objective = SoftExtraction(task, settings.price)
    train(Retained(model, retention), features, task, first, objective, search, tokenizer, title="power_bert: search")
    retention.clamp()
    keep = configuration(retention.mass(), ranks)
    context.progress.line(
        f"power_bert: the layers keep {', '.join(f'{100 * share:.0f} %' for share in keep)} of a text"
    )
    model = make_length_adaptive(model, dataclasses.replace(structure, keep=keep))
    last = dataclasses.replace(context, work=context.work / "train")
    train(model, features, task, settings, task_loss(task), last, tokenizer, title="power_bert")
    checkpoints.save(model, tokenizer, context.output)
    return Checkpoint(context.output, source.key)
