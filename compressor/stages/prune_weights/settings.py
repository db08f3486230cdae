"""Settings of the stage `prune_weights`."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import Field

from compressor.config.schema import Count, NonNegative, Positive, Probability, Ratio, given, settings
from compressor.config.training import TrainingSettings
from compressor.errors import RequestError
from compressor.stages.distill.settings import DistillSettings, losses_beside

Method = Literal["magnitude", "movement", "soft_movement"]
Scope = Literal["matrix", "model"]


@settings
class PruneWeightsSettings(TrainingSettings):
    """Which weights go, when, and what the model learns from meanwhile."""

    learning_rate: Positive = 3e-5
    method: Method = "magnitude"
    sparsity: Annotated[float, Field(gt=0, lt=1)] = (
        0.7  # share of the matrices' weights that go; soft_movement: at least, near 0 its threshold decides alone
    )
    scope: Scope = "matrix"  # the share of each matrix, or of all together
    modules: list[str] = dataclasses.field(
        default_factory=list
    )  # patterns of names; none: all encoder layers' matrices
    embeddings: bool = False  # the word embeddings too
    prune_from: Probability = 0.1  # fraction of the updates before the first weight goes
    prune_until: Ratio = 0.7  # fraction of the updates after which the sparsity is reached
    every: Count = 1  # updates between two choices of weights
    score_learning_rate: Positive = 1e-2  # movement, soft_movement: of the scores
    threshold: Probability = 0.1  # soft_movement: weights of lower scores (after the sigmoid) go
    penalty: NonNegative = 10.0  # soft_movement: on the mean score, grows with the schedule
    distill: dict[str, Any] | None = None  # learn from the teacher: losses as in `distill`; None: from the labels

    def __post_init__(self) -> None:
        """Refuse a schedule that runs backwards, and losses that cannot be read."""
        self.losses()
        if self.prune_from >= self.prune_until:
            raise RequestError(
                f"prune_weights: pruning starts after {self.prune_from:g} of the updates and has to be done after "
                f"{self.prune_until:g}: lower prune_from or raise prune_until."
            )

        if self.method == "magnitude":
            self._refuse_unread(("score_learning_rate", "threshold", "penalty"), "movement pruning")
        elif self.method == "movement":
            self._refuse_unread(("threshold", "penalty"), "method: soft_movement")

    def _refuse_unread(self, names: Sequence[str], whose: str) -> None:
        unread = given(self, names)
        if unread:
            raise RequestError(
                f"prune_weights: {' and '.join(unread)} mean something to {whose} alone: leave them out."
            )

    def losses(self) -> DistillSettings | None:
        """What is learned from the teacher, or None for the task's own loss."""
        return None if self.distill is None else losses_beside(self.distill, where="prune_weights: distill")
