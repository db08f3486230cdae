"""A sample of the training examples as batches: what stages measure a model on before they change it."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from compressor.errors import TrainingError
from compressor.training.batches import Batch, collate

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from compressor.stages.context import StageContext


def sample_batches(
    context: StageContext, tokenizer: PreTrainedTokenizerBase, samples: int, *, batch_size: int = 16, title: str
) -> list[Batch]:
    """Labelled batches of `samples` training examples, drawn from the seed; of all where there are fewer.

    Rows of like length stand together, so that little padding is computed. Raises `TrainingError` where there is no
    training data; `title` names the stage.
    """
    examples = context.data.train
    if not examples:
        raise TrainingError(f"{title}: there is no training data to measure the model on; give `data.train`.")
    chosen = random.Random(context.seed).sample(range(len(examples)), min(samples, len(examples)))
    drawn = [examples[index] for index in sorted(chosen)]
    features = context.task.features(drawn, tokenizer, labelled=True)
    features.sort(key=lambda feature: feature.length)
    return [
        collate(features[start : start + batch_size], tokenizer, context.task)
        for start in range(0, len(features), batch_size)
    ]
