"""The data sets of the table: their tasks, and where their teachers come from."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from question_sets import squad
from text_sets import DATASETS

from compressor.config.run import DataSettings, FeatureSettings, TaskName


@dataclass(frozen=True)
class Set:
    """One data set. `length`: tokens of the input whose multiplications are counted, about the set's median."""

    name: str
    task: TaskName
    length: int
    make: Callable[[argparse.Namespace, Path], DataSettings]  # (options, own folder) -> settings
    features: FeatureSettings = FeatureSettings()  # noqa: RUF009
    own_teacher: bool = False  # one that is fine-tuned already, instead of the encoder


def _texts(source: str, name: str | None = None) -> Set:
    return Set(
        name or source, "text-classification", 16, lambda options, work: DATASETS[source](Path(options.data), work)
    )


def _squad(options: argparse.Namespace, work: Path) -> DataSettings:
    folder = Path(options.data) / "squad_v1.1"
    return squad(folder, work, more_train=[str(folder / "train_extra_paragraphs.json.gz")], max_dev=2_000)


SETS = {
    entry.name: entry
    for entry in (
        _texts("banking77"),
        _texts("clinc150"),
        _texts("banking77", "banking77-later"),  # a second sitting, on another machine, with a teacher of its own
        Set("squad", "question-answering", 192, _squad, FeatureSettings(max_length=384, doc_stride=128), True),
    )
}
