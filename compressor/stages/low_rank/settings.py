"""Settings of the stage `low_rank`."""

from __future__ import annotations

import dataclasses
from typing import Literal

from compressor.config.schema import Count, Ratio, settings
from compressor.errors import RequestError

RULES = ("energy", "ratio", "budget", "rank")


@settings
class LowRankSettings:
    """Which matrices become products of two smaller ones, and how small. One of the four rules is given."""

    energy: Ratio | None = None  # share of the squared singular values that stays, in every matrix
    ratio: Ratio | None = None  # share of its parameters that every matrix keeps
    budget: Count | None = None  # parameters of the whole model, given to the matrices that gain most
    rank: Count | None = None  # the same rank everywhere
    weighting: Literal["none", "data", "fisher"] = "data"  # what an error counts: as weights, in outputs, by gradients
    modules: list[str] = dataclasses.field(default_factory=list)  # patterns of dotted names; none: all of the layers'
    samples: Count = 128  # calibration examples that data and fisher look at

    def __post_init__(self) -> None:
        """Refuse anything but one rule."""
        given = [rule for rule in RULES if getattr(self, rule) is not None]
        if len(given) != 1:
            raise RequestError(f"low_rank: give one of {', '.join(RULES)}, not {' and '.join(given) or 'none'}.")
        if self.ratio == 1:
            raise RequestError("low_rank: at ratio 1 the factors are as large as the matrices: give less.")
        if self.energy == 1:
            raise RequestError("low_rank: energy 1 keeps all of every matrix, in factors that are larger: give less.")

    @property
    def size_is_found(self) -> bool:
        """Whether how small the model becomes is known only once the stage has run."""
        return self.energy is not None

    def reads(self) -> tuple[str, ...]:
        """The data parts that the result depends on."""
        return () if self.weighting == "none" else ("calibration",)
