"""`train`: one optimisation run of a model on features, by an objective."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING

import torch
from transformers import PrinterCallback, TrainingArguments

from compressor.config.training import TrainingSettings
from compressor.errors import TrainingError
from compressor.tasks.base import Feature, Task
from compressor.training import saves
from compressor.training.batches import BatchLoader, LengthGroupedBatches
from compressor.training.callbacks import SaveEvery, ShowProgress
from compressor.training.precision import training_device
from compressor.training.trainer import Objective, PassesTrainer

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from compressor.stages.context import StageContext


@dataclass(frozen=True)
class TrainingSummary:
    """What a training run did, killed runs that it went on from included. `losses` has one entry an update."""

    steps: int
    seconds: float
    samples_per_second: float
    losses: list[float]


def train(
    model: torch.nn.Module,
    features: Sequence[Feature],
    task: Task,
    settings: TrainingSettings,
    objective: Objective,
    context: StageContext,
    tokenizer: PreTrainedTokenizerBase,
    *,
    title: str = "training",
) -> TrainingSummary:
    """Train `model` in place and leave it in evaluation mode on the device that it came from.

    Each update runs the passes of `objective` (see `Objective`). Saves go to `context.work` every
    `save_every_minutes`; a later call with the same arguments goes on from the last whole one and ends with the same
    weights as a run that was never killed. `title` names the work in the bar and in errors.
    Raises `TrainingError` when there is nothing to train on or the loss is no longer a number, `StorageError` when a
    save cannot be written.
    """
    if not features:
        raise TrainingError(f"{title}: there is no training data; give `data.train`, or take the stage out.")
    device = training_device()
    home = next(model.parameters()).device
    batches = LengthGroupedBatches(
        [feature.length for feature in features], settings.batch_size, context.seed, group=settings.group_by_length
    )
    loader = BatchLoader(batches, features, tokenizer, task, pin_memory=device.type == "cuda")
    total = updates(len(features), settings)
    trainer = PassesTrainer(model, _arguments(settings, context, total), settings, objective, loader, title)
    callbacks = trainer.callback_handler
    callbacks.pop_callback(PrinterCallback)  # type: ignore[no-untyped-call]
    with context.progress.bar(title, total) as bar:
        callbacks.add_callback(ShowProgress(bar, trainer.last_loss))  # type: ignore[no-untyped-call]
        callbacks.add_callback(SaveEvery(settings.save_every_minutes))  # type: ignore[no-untyped-call]
        last = saves.newest(context.work) if context.work.is_dir() else None
        if last is not None:
            context.progress.line(f"{title}: going on at update {saves.updates(last)} of {total}")
        trainer.train(resume_from_checkpoint=str(last) if last else None)
    trainer.require_finite_weights()
    model.to(home).eval()
    seconds = trainer.seconds
    return TrainingSummary(trainer.state.global_step, seconds, trainer.samples / max(seconds, 1e-9), trainer.losses)


def updates(features: int, settings: TrainingSettings) -> int:
    """How many updates a training on so many features has."""
    batches = ceil(features / settings.batch_size)
    wanted = ceil(ceil(batches / settings.gradient_accumulation) * settings.epochs)
    return min(wanted, settings.max_steps) if settings.max_steps else wanted


def _arguments(settings: TrainingSettings, context: StageContext, total: int) -> TrainingArguments:
    context.work.mkdir(parents=True, exist_ok=True)
    arguments = TrainingArguments(
        output_dir=str(context.work),
        max_steps=total,
        per_device_train_batch_size=settings.batch_size,
        gradient_accumulation_steps=settings.gradient_accumulation,
        learning_rate=settings.learning_rate,
        max_grad_norm=settings.max_grad_norm,
        seed=context.seed,
        use_cpu=training_device().type == "cpu",
        save_strategy="no",  # a callback asks for saves by the clock
        save_total_limit=None,
        eval_strategy="no",
        logging_strategy="no",
        logging_nan_inf_filter=False,
        disable_tqdm=True,
        remove_unused_columns=False,
        report_to=[],
    )
    _ = arguments.device  # counts the GPUs ...
    arguments._n_gpu = min(arguments.n_gpu, 1)  # ... of which one is used: hooks do not survive DataParallel
    return arguments
