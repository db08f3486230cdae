"""Settings of the stage `prune_vocabulary`."""

from __future__ import annotations

from compressor.config.schema import Count, Ratio, settings
from compressor.errors import RequestError


@settings
class PruneVocabularySettings:
    """Which word pieces stay: by one of `coverage`, `size` and `keep_file`."""

    coverage: Ratio | None = None  # share of the texts' tokens that the pieces must cover; unset: 1.0, all that occur
    size: Count | None = None  # pieces in the result, the most frequent ones beside those that must stay
    keep_file: str | None = None  # path of a file with the pieces to keep, one a line
    texts: str | None = None  # path of a file with further texts to count, one a line

    def __post_init__(self) -> None:
        """Refuse two rules at once."""
        given = [name for name in ("coverage", "size", "keep_file") if getattr(self, name) is not None]
        if len(given) > 1:
            raise RequestError(f"prune_vocabulary: {' and '.join(given)} contradict each other: give one of them.")
        if self.keep_file and self.texts:
            raise RequestError("prune_vocabulary: texts are counted, and keep_file counts nothing: leave one out.")

    @property
    def size_is_found(self) -> bool:
        """Whether how small the model becomes is known only once the stage has run."""
        return self.size is None

    def files(self) -> list[str]:
        """Files that the result depends on."""
        return [path for path in (self.keep_file, self.texts) if path]

    def reads(self) -> tuple[str, ...]:
        """The data parts that the result depends on: none where the pieces are listed."""
        return () if self.keep_file else ("train",)
