"""The stage `adaptive_depth`: exits behind layers of a fine-tuned model, and when to take them.

DACT-BERT (Eyzaguirre et al. 2022) learns answers and halting units jointly with the encoder, and pays for layers;
DeeBERT (Xin et al. 2020) trains exits on the encoder as it is; PABEE (Zhou et al. 2020) trains all with a weighted sum
of the exits' losses.
"""

from __future__ import annotations

import dataclasses
from typing import Any, cast

from compressor.models import checkpoint
from compressor.models.kinds.adaptive_depth import make_adaptive_depth, start_from_head
from compressor.models.structure import AdaptiveDepth, Structure
from compressor.stages.adaptive_depth.objective import ExitsObjective
from compressor.stages.adaptive_depth.settings import AdaptiveDepthSettings
from compressor.stages.adaptive_depth.shape import check_method, shape
from compressor.stages.context import Checkpoint, StageContext
from compressor.training import train, updates


def run(source: Checkpoint, settings: AdaptiveDepthSettings, context: StageContext) -> Checkpoint:
    """Give the checkpoint exits and train them; one that has exits of the same method trains on.

    Raises:
        CheckpointError: The checkpoint cannot be loaded for the task.
        RequestError: The model has a single layer, or exits of another method, or the method needs classes.
        TrainingError: The loss is no longer a number.
    """
    check_method(settings, context.task.name)
    model = checkpoint.load(source.path, context.task)
    tokenizer = checkpoint.load_tokenizer(source.path)
    fresh = checkpoint.structure_of(model).adaptive_depth is None
    config = shape(checkpoint.read_config(source.path), {}, settings)
    depth = cast(AdaptiveDepth, Structure.from_config(config).adaptive_depth)
    depth = dataclasses.replace(depth, threshold=context.task.settings.threshold)  # what is predicted must not change
    model = make_adaptive_depth(model, depth)
    if fresh:
        start_from_head(model)
    for module in cast(Any, model).exits.modules():
        module.learning_rate = settings.exit_learning_rate
    if settings.method == "deebert":
        model.requires_grad_(False)
        cast(Any, model).exits.requires_grad_(True)
    features = context.task.features(context.data.train, tokenizer, labelled=True)
    lengths = checkpoint.structure_of(model).length_adaptive
    steps = updates(len(features), settings) * settings.gradient_accumulation
    alone = round(settings.exits_first * steps) if fresh else 0
    objective = ExitsObjective(context.task, settings, seed=context.seed, lengths=lengths, alone=alone)
    train(model, features, context.task, settings, objective, context, tokenizer, title="adaptive_depth")
    checkpoint.save(model.requires_grad_(True), tokenizer, context.output)
    return Checkpoint(context.output, source.key)
