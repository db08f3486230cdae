"""The stage `prune_widths`: a physically smaller model of the most important heads, units and dimensions.

Heads: Michel et al. 2019. Widths of the feed-forward block and of the residual stream: McCarley 2019; Khetan & Karnin
2020 (schuBERT). Taylor importance of both: Hou et al. 2020 (DynaBERT), section 2.1.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from compressor.models import checkpoint as checkpoints
from compressor.models.hidden import narrow_hidden
from compressor.models.kinds.widths import narrow
from compressor.stages.context import Checkpoint, StageContext
from compressor.stages.prune_widths.settings import BY_GRADIENTS, PruneWidthsSettings
from compressor.stages.prune_widths.shape import shape
from compressor.stages.prune_widths.targets import Amount, Targets, present, targets
from compressor.tasks.base import Task
from compressor.training.importance import Importance, importance
from compressor.training.ranking import best, best_over_layers
from compressor.training.sample import sample_batches


def run(source: Checkpoint, settings: PruneWidthsSettings, context: StageContext) -> Checkpoint:
    """Write the checkpoint with only the most important parts left, in `settings.steps` rounds.

    Raises:
        RequestError: The model cannot keep as much, or nothing would be left of it.
        CheckpointError: The checkpoint cannot be loaded for the task.
        TrainingError: There is no training data to measure importance on.
    """
    config = checkpoints.read_config(source.path)
    shape(config, {}, settings)
    start, end = present(config), targets(config, settings)
    tokenizer = checkpoints.load_tokenizer(source.path)
    model: nn.Module = checkpoints.load(source.path, context.task)
    batches = (
        sample_batches(context, tokenizer, settings.samples, title="prune_widths")
        if settings.importance in BY_GRADIENTS
        else []
    )
    with context.progress.bar("prune_widths", settings.steps) as bar:
        for step in range(1, settings.steps + 1):
            found = importance(settings.importance, model, batches, context.task, context.seed)
            model = narrowed(model, context.task, found, start.towards(end, step, settings.steps), settings)
            bar.advance()
    checkpoints.save(model, tokenizer, context.output)
    return Checkpoint(context.output, source.key)


def narrowed(
    model: nn.Module, task: Task, found: Importance, left: Targets, settings: PruneWidthsSettings
) -> nn.Module:
    """The model with the most important heads, units and hidden dimensions."""
    heads = _choose(found.heads, left.heads, block=1, least=settings.minimum_heads)
    units = _choose(found.units, left.units, block=settings.multiple_of, least=1)
    model = narrow(model, heads, units)
    if left.hidden < len(found.stream):
        stream = best(found.stream.tolist(), left.hidden)
        summary = stream if found.summary is None else best(found.summary.tolist(), left.hidden)
        model = narrow_hidden(model, task, stream, summary)
    return model


def _choose(scores: Sequence[Tensor], amount: Amount, *, block: int, least: int) -> list[list[int]]:
    lists = [own.tolist() for own in scores]
    if isinstance(amount, int):
        return best_over_layers(lists, amount, block=block, least=least)
    return [best(own, count) for own, count in zip(lists, amount, strict=True)]
