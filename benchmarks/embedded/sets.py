"""The study's tasks as settings of `data=files`: intents and emotions (several labels a text), named entities."""

from __future__ import annotations

import dataclasses
import gzip
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random

from text_sets import goemotions

from compressor.config.run import DataSettings, TaskName

FOLDS = 3


@dataclass(frozen=True)
class Set:
    """One data set: its task, what its teacher is fine-tuned with, and its folds and seeds if it has no fixed split."""

    name: str
    task: TaskName
    make: Callable[[Path, Path, str], DataSettings]  # (folder of all data, own folder, run) -> settings
    epochs: float  # of the teacher
    search: int  # examples held out to choose by
    batch_size: int = 32  # of the teacher
    learning_rate: float = 1e-4  # of the teacher
    runs: tuple[str, ...] = ("whole",)
    budget: tuple[
        str, ...
    ] = ()  # words for the advisor: the full training of a student and the grid, where the defaults are too much

    def settings(self, folder: Path, work: Path, run: str) -> DataSettings:
        """The settings of one run, which is `whole` or `<seed>-<fold>`."""
        return dataclasses.replace(self.make(folder, work, run), search=self.search)


def _goemotions(folder: Path, work: Path, run: str) -> DataSettings:
    return dataclasses.replace(goemotions(folder, work), max_train=13_000)


def _huric(folder: Path, work: Path, run: str) -> DataSettings:
    """Commands and their frames; a third of them is held out, by seed and fold."""
    seed, fold = run.split("-")
    lines = gzip.decompress((folder / "huric_2.1_en" / "en.jsonl.gz").read_bytes()).decode().splitlines()
    rows = [json.loads(line) for line in lines]
    order = list(range(len(rows)))
    Random(int(seed)).shuffle(order)
    files = {"train": work / "train.jsonl", "dev": work / "dev.jsonl"}
    texts: dict[str, list[str]] = {"train": [], "dev": []}
    for place, index in enumerate(order):
        frames = list(dict.fromkeys(frame["name"] for frame in rows[index]["frames"]))
        part = "dev" if place % FOLDS == int(fold) else "train"
        texts[part].append(json.dumps({"text": rows[index]["text"], "labels": frames}))
    work.mkdir(parents=True, exist_ok=True)
    for part, file in files.items():
        file.write_text("\n".join(texts[part]) + "\n", encoding="utf-8")
    return DataSettings(source="files", train=str(files["train"]), dev=str(files["dev"]))


def _conll(name: str, most: int | None = None) -> Callable[[Path, Path, str], DataSettings]:
    """Sentences with tagged words, at most so many for training."""

    def make(folder: Path, work: Path, run: str) -> DataSettings:
        source = folder / name
        return DataSettings(
            source="files",
            train=str(source / "train.conll.gz"),
            dev=str(source / "test.conll.gz"),
            max_train=most,
            max_dev=1_000,
        )

    return make


SETS = {
    entry.name: entry
    for entry in (
        Set(
            "goemotions",
            "text-classification",
            _goemotions,
            epochs=6.0,
            search=1_000,
            budget=("advise.distill.epochs=2", "advise.grid.widths=[1.0,0.25]", "advise.grid.keep=[1.0]"),
        ),
        Set(
            "huric",
            "text-classification",
            _huric,
            epochs=50.0,  # 337 texts: with fewer updates the teacher gives few of them a label
            search=100,
            batch_size=8,
            learning_rate=3e-4,
            budget=(
                "advise.distill.epochs=15",
                "advise.distill.batch_size=8",
                "advise.distill.learning_rate=3e-4",
                "advise.grid.layers=[1.0,0.5]",
                "advise.grid.widths=[1.0,0.25]",
                "advise.grid.keep=[1.0]",
            ),
            runs=tuple(f"{seed}-{fold}" for seed in (1, 2, 3) for fold in range(FOLDS)),
        ),
        Set(
            "wnut17",
            "token-classification",
            _conll("wnut17"),
            epochs=6.0,
            search=400,
            budget=(
                "advise.distill.epochs=5",
                "advise.length_adaptive.epochs=2",
                "advise.grid.layers=[1.0,0.34]",
                "advise.grid.widths=[1.0,0.25]",
                "advise.grid.keep=[1.0,0.8]",
            ),
        ),
        Set(
            "uner_en_ewt",
            "token-classification",
            _conll("uner_en_ewt", 6_600),
            epochs=8.0,
            search=600,
            budget=("advise.distill.epochs=3", "advise.grid.keep=[1.0]"),
        ),
    )
}


def words(settings: DataSettings) -> list[str]:
    """Settings of the data as words of a command line."""
    found = ["data=files"]
    for field in dataclasses.fields(DataSettings):
        value = getattr(settings, field.name)
        if field.name == "source" or value is None:
            continue
        found.append(f"data.{field.name}={json.dumps(value)}")
    return found
