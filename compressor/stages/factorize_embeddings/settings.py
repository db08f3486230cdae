"""Settings of the stage `factorize_embeddings`."""

from __future__ import annotations

from typing import Literal

from compressor.config.schema import Count, Ratio, settings
from compressor.errors import RequestError

RULES = ("rank", "ratio", "energy")


@settings
class FactorizeEmbeddingsSettings:
    """How narrow the table of word embeddings becomes. One of the three rules is given."""

    rank: Count | None = None  # its width
    ratio: Ratio | None = None  # share of their parameters that the word embeddings keep
    energy: Ratio | None = None  # share of the squared singular values that stays
    weighting: Literal["none", "frequency"] = (
        "frequency"  # a word counts once, or as often as the training texts use it
    )

    def __post_init__(self) -> None:
        """Refuse anything but one rule."""
        given = [rule for rule in RULES if getattr(self, rule) is not None]
        if len(given) != 1:
            raise RequestError(
                f"factorize_embeddings: give one of {', '.join(RULES)}, not {' and '.join(given) or 'none'}."
            )
        if self.ratio == 1:
            raise RequestError("factorize_embeddings: at ratio 1 the factors are as large as the table: give less.")
        if self.energy == 1:
            raise RequestError(
                "factorize_embeddings: energy 1 keeps all of the table, in factors that are larger: give less."
            )

    @property
    def size_is_found(self) -> bool:
        """Whether how small the model becomes is known only once the stage has run."""
        return self.energy is not None

    def reads(self) -> tuple[str, ...]:
        """The data parts that the result depends on."""
        return ("train",) if self.weighting == "frequency" else ()
