"""Does the board answer as this machine does? The same file on a sample of the held-out data, there and here."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from compressor.config.device import DeviceProfile
from compressor.devices.emulation import emulated
from compressor.devices.outputs import run_features
from compressor.devices.place import Place, place_for
from compressor.tasks.base import Task
from compressor.tasks.examples import Example, spread
from compressor.validation.metric import require_usable

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

USUAL_ROWS = 64
EMULATED_ROWS, EMULATED_TIMEOUT_S = 32, 3600.0
"""An emulated device is tens of times slower than this machine."""


@dataclass(frozen=True)
class BoardCheck:
    """A board's answers against this machine's; other kernels add in another order, so that last digits differ."""

    examples: int
    same: float  # % of examples with the same prediction, as the task compares them
    max_abs: float  # largest difference of an output
    metrics: dict[str, float]  # points on the sample, on the board
    metrics_here: dict[str, float]
    measured_on: str


def check_on_board(
    model_path: Path,
    task: Task,
    examples: Sequence[Example],
    tokenizer: PreTrainedTokenizerBase,
    profile: DeviceProfile,
    keep: Sequence[float] | None = None,
    *,
    rows: int | None = None,
) -> BoardCheck | None:
    """Compare outputs on up to `rows` examples, spread evenly over the data, with the board's or an emulated device's.

    None without either, or for no rows.

    Raises `DeviceError` when the file does not run there or gives something else than finite numbers.
    """
    usual = EMULATED_ROWS if profile.emulate else USUAL_ROWS
    limit = usual if rows is None else rows
    if not (profile.host or profile.emulate) or not limit or not examples:
        return None
    sample = spread(examples, limit)
    features = task.features(sample, tokenizer, labelled=False)
    tokens = task.output_names if task.restores_tokens else ()
    pad_id = tokenizer.pad_token_id or 0
    open_place: AbstractContextManager[Place] = emulated(profile) if profile.emulate else place_for(profile)
    timeout_s = EMULATED_TIMEOUT_S if profile.emulate else None
    with open_place as place:
        there = run_features(
            model_path, profile, features, keep, pad_id=pad_id, token_outputs=tokens, place=place, timeout_s=timeout_s
        )
        where = place.measured_on
    here = run_features(model_path, profile, features, keep, pad_id=pad_id, token_outputs=tokens)
    for outputs in (there, here):
        require_usable(outputs, task, model_path)
    answers = [task.decode(sample, features, outputs) for outputs in (there, here)]
    pairs = zip(*answers, strict=True)
    return BoardCheck(
        examples=len(sample),
        same=100 * float(np.mean([task.same(one, other) for one, other in pairs])),
        max_abs=max(
            float(np.abs(one[name] - other[name]).max(initial=0.0))
            for one, other in zip(there, here, strict=True)
            for name in task.output_names
        ),
        metrics=dict(task.score(sample, answers[0])),
        metrics_here=dict(task.score(sample, answers[1])),
        measured_on=where,
    )
