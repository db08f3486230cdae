"""What happens between updates: the progress bar moves, and a save is due every few minutes."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from compressor.progress import Bar

_SMOOTHING = 0.9


class ShowProgress(TrainerCallback):
    """Moves the bar by one an update; the note is a running mean of the loss."""

    def __init__(self, bar: Bar, last_loss: Callable[[], float]) -> None:
        self.bar = bar
        self.last_loss = last_loss
        self.mean: float | None = None

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Show what an earlier, killed run has done already."""
        if state.global_step:
            self.bar.advance(state.global_step)

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Move on by one update."""
        loss = self.last_loss()
        self.mean = loss if self.mean is None else _SMOOTHING * self.mean + (1 - _SMOOTHING) * loss
        self.bar.advance(1, f"loss {self.mean:.4f}")


class SaveEvery(TrainerCallback):
    """Asks for a save when `minutes` have passed since the last one."""

    def __init__(self, minutes: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.seconds = minutes * 60
        self.clock = clock
        self.last = clock()

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Ask for a save if one is due and there is still something to do."""
        if self.clock() - self.last >= self.seconds and state.global_step < state.max_steps:
            control.should_save = True

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Start the clock anew."""
        self.last = self.clock()
