"""Settings of the stage `finetune`."""

from __future__ import annotations

from compressor.config.schema import settings
from compressor.config.training import TrainingSettings


@settings
class FinetuneSettings(TrainingSettings):
    """Plain training on the labels; the defaults are BERT's for SQuAD (GLUE: learning_rate 2e-5)."""
