"""Label names and their places in the model's outputs."""

from __future__ import annotations

from collections.abc import Sequence

from compressor.errors import TaskError


class LabelIndexes(dict[str, int]):
    """Maps a label to its place; raises `TaskError` for one that the model does not have."""

    def __missing__(self, label: str) -> int:
        """Say which label is unknown and which ones there are."""
        known = ", ".join(list(self)[:20]) + (", ..." if len(self) > 20 else "")
        raise TaskError(
            f"the data has the label '{label}', which the model does not know: it has {known}. "
            "Use a teacher trained on these labels, or give names with data.labels."
        )


def label_indexes(labels: Sequence[str]) -> LabelIndexes:
    """Places by label, in the order of the model's outputs; raises `TaskError` if there are no labels at all."""
    if not labels:
        raise TaskError("a classification task needs label names: none were given by the data or the teacher.")
    return LabelIndexes({label: index for index, label in enumerate(labels)})
