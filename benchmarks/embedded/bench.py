"""One run of one data set: its teacher, and questions to the advisor about it."""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path
from typing import Any

from sets import SETS, words
from workbench import Workbench

from compressor import data as data_room
from compressor.advisor.advise import lay_out_items, make_pricer
from compressor.advisor.prices import Item, Price, Priced
from compressor.advisor.pricing import Pricer
from compressor.advisor.requests import Question, ask
from compressor.cache import Cache
from compressor.config.run import FeatureSettings
from compressor.models import macs
from compressor.models.structure import Structure
from compressor.pipeline import prepare
from compressor.stages.context import Checkpoint
from compressor.steps import Steps
from compressor.tasks import make_task

LENGTH = 64
"""Tokens that the study pads its utterances to; ours are all real."""
FEATURES = [f"features.max_length={LENGTH}"]
LOOSE = ["max_size_mb=100000"]
"""A limit that every candidate meets."""


class Bench(Workbench):
    """A data set, in one of its runs."""

    def __init__(self, name: str, run: str, options: argparse.Namespace) -> None:
        self.set = SETS[name]
        self.run = run
        self.options = options
        self.seed = int(run.split("-")[0]) if "-" in run else 42
        work = Path(options.work).resolve() / name / run
        work.mkdir(parents=True, exist_ok=True)
        self.settings = self.set.settings(Path(options.data).resolve(), work, run)
        data = data_room.load(self.settings, self.set.task, self.seed)
        task = make_task(self.set.task, FeatureSettings(max_length=LENGTH), data.labels, multi_label=data.multi_label)
        super().__init__(work, task, data, Checkpoint(Path(options.encoder).resolve(), "encoder"))

    def fine_tuned(self) -> Path:
        """The teacher's folder; fine-tunes it if it is not there."""
        epochs = self.options.epochs or self.set.epochs
        settings = {"learning_rate": self.set.learning_rate, "batch_size": self.set.batch_size}
        self.stage("finetune", "teacher", self.teacher, epochs=epochs, **settings)
        return self.work / "checkpoints" / "teacher"

    def question(self, *limits: str, teacher: Path | None = None) -> Question:
        """A question to the advisor; all that is the same for every budget stands in `--grid` and the set."""
        given = [
            f"task={self.set.task}",
            f"device={self.options.device}",
            *words(self.settings),
            *FEATURES,
            f"teacher.path={teacher or self.fine_tuned()}",
            f"seed={self.seed}",
            f"output={self.work / 'exports'}",
            f"measure.rounds={self.options.rounds}",
            *self.set.budget,
            *self.options.grid,
            *limits,
        ]
        return ask(given)

    def prepared(self, question: Question) -> tuple[list[Item], Pricer, Steps]:
        """Every candidate of a question's grid, what takes their prices, and the teacher's steps."""
        cache = Cache(question.request.output / ".cache")
        steps, _, _ = prepare(question.request, cache, self.progress)
        items, impossible = lay_out_items(question, [steps])
        for name, reason in impossible.items():
            self.progress.line(f"{name}: {reason}")
        return items, make_pricer(question, steps), steps

    def take_prices(self) -> None:
        """Copy what other runs of the data set have measured: their candidates are of the same shapes."""
        own = self.work / "exports" / ".cache"
        for entry in self.work.parent.glob("*/exports/.cache/price-*"):
            if not (own / entry.name).exists():
                shutil.copytree(entry, own / entry.name)

    def keep(self, name: str, value: Any) -> None:
        """Write a result of a part."""
        (self.work / f"{name}.json").write_text(json.dumps(value, indent=1))

    def kept(self, name: str) -> Any:
        """A part's result, or None."""
        file = self.work / f"{name}.json"
        return json.loads(file.read_text()) if file.exists() else None


def priced(item: Item, price: Price) -> Priced:
    """A candidate with its price."""
    count = macs.count(
        item.config, Structure.from_config(item.config), length=LENGTH, keep=None, task=item.steps.task.name
    )
    return Priced(item.candidate, item.request, item.config, count, price)
