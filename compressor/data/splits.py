"""The parts of a data set and what each is for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from compressor.tasks.examples import Example


@dataclass(frozen=True)
class Splits:
    """Examples by purpose. `train`, `calibration` and `search` come from the training data, `dev` never does.

    `calibration` is a sample of `train`; `search` is held out of `train`; `dev` is only reported on.
    """

    name: str
    train: Sequence[Example]
    calibration: Sequence[Example]
    search: Sequence[Example]
    dev: Sequence[Example]
    labels: tuple[str, ...]  # label names; () for tasks without
    multi_label: bool
    fingerprints: dict[str, str]  # SHA-256 by part name, of the examples' content

    def part(self, name: str) -> Sequence[Example]:
        """The examples of a part by name: train, calibration, search or dev."""
        parts: dict[str, Sequence[Example]] = {
            "train": self.train,
            "calibration": self.calibration,
            "search": self.search,
            "dev": self.dev,
        }
        return parts[name]
