"""Settings of the stage `squeeze`."""

from __future__ import annotations

from typing import Literal

from compressor.config.schema import Count, Ratio, settings
from compressor.errors import RequestError
from compressor.stages.distill.settings import DistillSettings


@settings
class SqueezeSettings(DistillSettings):
    """The student's shape, what its maps begin as, and the losses of `distill` that they learn by."""

    width: Ratio = 0.5  # share of the heads, and with them of the width, and of the feed-forward width that stays
    layers: Count | None = None  # None: as many as the model has
    hidden_size: Count | None = None  # None: as `width` says, and so are the next two
    heads: Count | None = None
    intermediate_size: Count | None = None
    start: Literal["select", "random"] = "select"  # maps that pick the strongest dimensions, or random ones (the paper)

    def __post_init__(self) -> None:
        """Refuse another student than the squeezed one, and what `distill` refuses."""
        if self.student != "previous":
            raise RequestError(
                "squeeze: the student is the squeezed model itself: give `width`, or `layers`, `hidden_size`, `heads` "
                "and `intermediate_size`, in the place of `student`."
            )
        unused = [name for name in ("teachers", "unlabelled", "augment") if getattr(self, name)]
        if unused:
            raise RequestError(
                f"squeeze: {' and '.join(unused)} cannot be used while the maps learn: give them to a `distill` behind."
            )
        if not any(self.weights().values()):
            raise RequestError("squeeze: every loss has the weight 0, so that nothing would be learned.")
        self.refuse_unread()
