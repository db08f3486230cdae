"""Settings of the stage `drop_layers`."""

from __future__ import annotations

from typing import Literal

from compressor.config.schema import Count, Whole, given, settings
from compressor.errors import RequestError

Pattern = Literal["every_other", "first", "last", "both_ends", "importance"]


@settings
class DropLayersSettings:
    """Which encoder layers stay."""

    keep: Pattern | list[Whole] = "every_other"  # or the layers themselves, counted from 0
    layers: Count | None = None  # how many stay; None: half of them, rounded up (or as many as are listed)
    importance: Literal["cosine", "loss"] = "cosine"  # how far a layer turns its input, or what leaving it out costs
    one_by_one: bool = True  # judge the others anew after each layer that goes; false: all at once, which costs less
    samples: Count = 256  # training examples that `keep: importance` is measured on

    def __post_init__(self) -> None:
        """Refuse settings of a measurement that is not made."""
        unread = given(self, ("importance", "one_by_one", "samples"))
        if self.keep != "importance" and unread:
            raise RequestError(
                f"drop_layers: {' and '.join(unread)} would have no effect: the layers are chosen by their place. Add "
                "keep: importance, or leave it out."
            )

    def reads(self) -> tuple[str, ...]:
        """The data parts that the result depends on."""
        return ("train",) if self.keep == "importance" else ()
