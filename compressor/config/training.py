"""Settings shared by every stage that trains."""

from __future__ import annotations

from typing import Literal

from compressor.config.schema import Count, NonNegative, Positive, Probability, settings


@settings
class TrainingSettings:
    """One optimisation run: AdamW with linear warm-up and decay."""

    epochs: Positive = 3.0
    max_steps: Count | None = None  # updates; stops earlier than `epochs` would
    batch_size: Count = 16
    gradient_accumulation: Count = 1
    learning_rate: Positive = 5e-5  # peak
    weight_decay: NonNegative = 0.01
    warmup: Probability = 0.06  # fraction of all updates
    max_grad_norm: Positive = 1.0
    precision: Literal["auto", "float32", "bfloat16"] = "auto"  # auto: bfloat16 where the machine is fast at it
    group_by_length: bool = True
    save_every_minutes: Positive = 5.0  # a killed run goes on from the last save
