"""Settings of the stage `adaptive_depth`."""

from __future__ import annotations

from typing import Literal

from compressor.config.schema import Count, NonNegative, Positive, Probability, settings
from compressor.config.training import TrainingSettings
from compressor.models.structure import Bound, DepthMethod, ExitHead, Summary

PONDER = Literal["weights", "units"]

DEFAULTS: dict[DepthMethod, float] = {"dact": 0.0, "deebert": 0.2, "pabee": 2.0}
"""The dial where none is asked for: DACT keeps its promise; the others' papers choose within this range."""

HEADS: dict[DepthMethod, ExitHead] = {"dact": "dense", "deebert": "dense", "pabee": "linear"}
"""What an exit is where none is asked for: in lower layers one product is too little."""


@settings
class AdaptiveDepthSettings(TrainingSettings):
    """Exits behind layers and their training; starts from a fine-tuned model."""

    epochs: Positive = 3.0
    learning_rate: Positive = 3e-5  # of the encoder and its head
    exit_learning_rate: Positive = 2e-3  # of the exits, which are new
    method: DepthMethod = "dact"
    setting: NonNegative | None = None  # the dial's default: margin, entropy in nats, patience in exits
    head: ExitHead | None = None  # an exit is one product (linear), or dense and tanh before it; None: by method
    summary: Summary = "mean"  # an exit reads the mean of the tokens, or the first one (as the papers have it)
    exits: list[Count] | None = None  # behind which layers, from 1; None: every one but the last. Fewer cost less
    tau: NonNegative = 3e-2  # DACT: the price of an exit that is passed (1e-3 ... 1e-1)
    ponder: PONDER = "weights"  # DACT's price is on the sum of p_n (weights) or of h_n (units)
    exits_first: Probability = 0.5  # DACT: share of the updates in which exits learn alone; the paper has 0
    exit_loss: NonNegative = 1.0  # DACT: weight of the exits' own losses afterwards (the paper: 0)
    bound: Bound = "tight"  # DACT: what later layers can change at most
    length_drop: Probability = 0.2  # of a length-adaptive model: share of tokens that a layer may drop in training
    tolerance: NonNegative = 0.1  # PABEE: numbers (regression) agree that differ by at most this, in the label's unit
