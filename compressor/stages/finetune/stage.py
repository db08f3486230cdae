"""Fine-tune a checkpoint on the task's labels (Devlin et al. 2019, section 4).

The loss is the task's own cross-entropy; a checkpoint without a head for the task gets a new one, drawn from the seed.
"""

from __future__ import annotations

from compressor.models import checkpoint as checkpoints
from compressor.stages.context import Checkpoint, StageContext
from compressor.stages.finetune.settings import FinetuneSettings
from compressor.training import task_loss, train


def run(checkpoint: Checkpoint, settings: FinetuneSettings, context: StageContext) -> Checkpoint:
    """Train the checkpoint on `context.data.train` and write the result to `context.output`."""
    tokenizer = checkpoints.load_tokenizer(checkpoint.path)
    model = checkpoints.load(checkpoint.path, context.task, new_head=True, seed=context.seed)
    features = context.task.features(context.data.train, tokenizer, labelled=True)
    train(model, features, context.task, settings, task_loss(context.task), context, tokenizer, title="finetune")
    checkpoints.save(model, tokenizer, context.output)
    return Checkpoint(context.output, checkpoint.key)
