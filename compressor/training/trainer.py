"""transformers' Trainer with an objective of many passes, sealed saves and an order of data that can be found again."""

from __future__ import annotations

import json
import math
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from transformers import Trainer, TrainingArguments

from compressor.config.training import TrainingSettings
from compressor.errors import StorageError, TrainingError
from compressor.training import saves
from compressor.training.batches import Batch, BatchLoader
from compressor.training.optimizer import make_optimizer, make_schedule
from compressor.training.precision import autocast

Objective = Callable[
    [torch.nn.Module, Mapping[str, torch.Tensor], Mapping[str, torch.Tensor], int], Iterator[torch.Tensor]
]
"""`objective(model, inputs, labels, step)` yields scalar losses one by one.

Each loss is backpropagated before the generator goes on, so that memory holds one graph; the update's loss is
their sum. `step` counts batches from 0 over the whole training and is the same again after a killed run went on:
draw random numbers from it (or from torch, whose state is restored too). Forward passes run under autocast.
"""

_WEIGHTS = "model.safetensors"
_RECORD = "record.json"


class PassesTrainer(Trainer):
    """A Trainer whose update is made of the passes of an objective."""

    objective: Objective

    def __init__(
        self,
        model: torch.nn.Module,
        arguments: TrainingArguments,
        settings: TrainingSettings,
        objective: Objective,
        loader: BatchLoader,
        title: str,
    ) -> None:
        self.network = model
        self.folder = Path(arguments.output_dir or "")
        self.settings = settings
        self.objective = objective
        self.loader = loader
        self.title = title
        self.losses: list[float] = []  # one an update
        self.samples = 0
        self.earlier_seconds = 0.0  # of killed runs that this one goes on from
        self._started = time.monotonic()
        self._batch_losses: list[float] = []  # of the update that is running
        super().__init__(model=model, args=arguments, train_dataset=loader.dataset)

    @property
    def seconds(self) -> float:
        """Time spent training, killed runs up to their last save included."""
        return self.earlier_seconds + time.monotonic() - self._started

    def last_loss(self) -> float:
        """Close the running update and return its loss."""
        self.losses.append(sum(self._batch_losses) / max(1, len(self._batch_losses)))
        self._batch_losses = []
        return self.losses[-1]

    def training_step(  # type: ignore[override]
        self, model: torch.nn.Module, inputs: Batch, num_items_in_batch: torch.Tensor | int | None = None
    ) -> torch.Tensor:
        """Run all passes of the objective on one batch, each backward before the next forward."""
        model.train()
        tensors, labels = self._prepare_input(inputs)
        share = 1 / self.current_gradient_accumulation_steps
        step = self.state.global_step * self.settings.gradient_accumulation + len(self._batch_losses)
        passes = self.objective(model, tensors, labels, step)
        total = torch.zeros((), device=self.args.device)
        while (loss := self._next_loss(passes)) is not None:
            total += loss.detach()
            self.accelerator.backward(loss * share)
            del loss
        value = total.item()
        if not math.isfinite(value):
            self._keep_what_is_good(model)
            raise TrainingError(self._not_a_number(f"the loss is {value}"))
        self._batch_losses.append(value)
        self.samples += len(tensors["input_ids"])
        return total * share

    def _next_loss(self, passes: Iterator[torch.Tensor]) -> torch.Tensor | None:
        with autocast(self.settings.precision, self.args.device):
            return next(passes, None)

    def _not_a_number(self, what: str) -> str:
        last = saves.newest(self.folder)
        kept = f"the last good save is {last}" if last else "nothing was saved yet"
        return (
            f"{self.title}: {what} at update {self.state.global_step + 1} of {self.state.max_steps}; {kept}. "
            "Lower `learning_rate`, lengthen `warmup`, or set `precision: float32`."
        )

    def get_train_dataloader(self) -> BatchLoader:
        """Our own loader; its order depends on seed and epoch alone."""
        return self.loader

    def create_optimizer(self) -> torch.optim.Optimizer:
        """AdamW, see `optimizer`."""
        optimizer = make_optimizer(self.network, self.settings)
        self.optimizer = optimizer
        return optimizer

    def create_scheduler(
        self, num_training_steps: int, optimizer: torch.optim.Optimizer | None = None
    ) -> torch.optim.lr_scheduler.LambdaLR:
        """Linear warm-up and decay, see `optimizer`."""
        schedule = make_schedule(optimizer or self.create_optimizer(), num_training_steps, self.settings.warmup)
        self.lr_scheduler = schedule
        self._created_lr_scheduler = True
        return schedule

    def floating_point_ops(self, inputs: Any) -> int:
        """Not counted."""
        return 0

    def require_finite_weights(self) -> None:
        """Raise `TrainingError` if a weight is no longer a number."""
        if not all(bool(torch.isfinite(parameter).all()) for parameter in self.network.parameters()):
            raise TrainingError(self._not_a_number("a weight is no longer a number"))

    def _keep_what_is_good(self, model: torch.nn.Module) -> None:
        """Save the weights of the update before, unless there is none or they are saved already."""
        step = self.state.global_step
        last = saves.newest(self.folder)
        if step and (last is None or last.name != f"checkpoint-{step}"):
            self._save_checkpoint(model, None)

    def _save_checkpoint(self, model: torch.nn.Module, trial: Any) -> None:
        self.require_finite_weights()
        partial = self.folder / "partial"
        shutil.rmtree(partial, ignore_errors=True)
        self.args.output_dir = str(partial)
        try:
            super()._save_checkpoint(model, trial)  # type: ignore[no-untyped-call]
            folder = partial / f"checkpoint-{self.state.global_step}"
            record = {"losses": self.losses, "samples": self.samples, "seconds": self.seconds}
            (folder / _RECORD).write_text(json.dumps(record), encoding="utf-8")
            saves.publish(folder, self.folder)
        except (OSError, RuntimeError, safetensors.SafetensorError) as error:
            raise StorageError(
                f"{self.title}: could not save the running training to {self.folder}: {error}"
            ) from error
        finally:
            self.args.output_dir = str(self.folder)
            shutil.rmtree(partial, ignore_errors=True)

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        folder = Path(output_dir or self.folder)
        folder.mkdir(parents=True, exist_ok=True)
        safetensors.torch.save_model(self.network, str(folder / _WEIGHTS))

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: torch.nn.Module | None = None) -> None:
        folder = Path(resume_from_checkpoint)
        safetensors.torch.load_model(self.network, str(folder / _WEIGHTS))
        record = json.loads((folder / _RECORD).read_text(encoding="utf-8"))
        self.losses = record["losses"]
        self.samples = record["samples"]
        self.earlier_seconds = record["seconds"]
