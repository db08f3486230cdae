"""Settings of the stage `prune_widths`."""

from __future__ import annotations

from typing import Literal

from compressor.config.schema import Count, Ratio, settings
from compressor.errors import RequestError

BY_GRADIENTS = ("taylor", "fisher")


@settings
class PruneWidthsSettings:
    """How much stays, and by what it is chosen. There is no training in it: put `distill` or `finetune` behind it."""

    heads: Ratio | list[Count] = 1.0  # fraction of the attention heads that stays, or their number in each layer
    feed_forward: Ratio | list[Count] = 1.0  # the same of the inner units of the feed-forward blocks
    hidden: Ratio | Count = 1.0  # width of the residual stream: a fraction that stays, or (above 1) the width itself
    uneven: bool = False  # one ranking over all layers, not the same fraction of each
    importance: Literal["taylor", "fisher", "magnitude", "random"] = "taylor"
    samples: Count = 256  # training examples that `taylor` and `fisher` are measured on
    steps: Count = 1  # rounds, each scored anew
    multiple_of: Count = 8  # widths that come of a fraction are a multiple of it
    minimum_heads: Count = 1  # that every layer keeps where the ranking is one

    def __post_init__(self) -> None:
        """Refuse a stage that asks for nothing to be left out, and one ranking where every number is given."""
        if self.heads == self.feed_forward == self.hidden == 1.0:
            raise RequestError(
                "prune_widths: all heads, feed_forward units and hidden dimensions stay; set one of `heads`, "
                "`feed_forward`, `hidden` below 1."
            )

        ranked = [wish for wish in (self.heads, self.feed_forward) if not isinstance(wish, list) and wish != 1.0]
        if self.uneven and not ranked:
            raise RequestError(
                "prune_widths: `uneven` ranks the heads or units of all layers together, and neither is given as a "
                "fraction below 1: leave it out."
            )

    def reads(self) -> tuple[str, ...]:
        """The data parts that the result depends on."""
        return ("train",) if self.importance in BY_GRADIENTS else ()
