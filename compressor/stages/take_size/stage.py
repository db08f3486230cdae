"""The stage `take_size`: a physically smaller checkpoint, one of the sizes of a model trained by `dynabert`."""

from __future__ import annotations

from torch import nn

from compressor.models import checkpoint as checkpoints
from compressor.models.families import family_of
from compressor.models.kinds.widths import narrow
from compressor.stages.context import Checkpoint, StageContext
from compressor.stages.drop_layers.stage import renumbered
from compressor.stages.dynabert.sizes import layers_at, widths_at
from compressor.stages.take_size.settings import TakeSizeSettings
from compressor.stages.take_size.shape import check_size, shape


def run(source: Checkpoint, settings: TakeSizeSettings, context: StageContext) -> Checkpoint:
    """Write the first heads and units of the layers that stay; no weight is changed.

    Raises:
        RequestError: The model was not trained for this size.
        CheckpointError: The checkpoint cannot be loaded for the task.
    """
    config = checkpoints.read_config(source.path)
    check_size(config, settings)
    family, widths = family_of(config), widths_at(settings.width, config)
    whole: nn.Module = checkpoints.load(source.path, context.task)
    narrow(
        whole,
        [list(range(width.heads)) for width in widths],
        [list(range(width.feed_forward)) for width in widths],
    )
    kept = layers_at(settings.depth, family.layer_count(config))
    smaller: nn.Module = checkpoints.build(shape(config, {}, settings), context.task)
    smaller.load_state_dict(renumbered(whole.state_dict(), family, kept))
    checkpoints.save(smaller, checkpoints.load_tokenizer(source.path), context.output)
    return Checkpoint(context.output, source.key)
