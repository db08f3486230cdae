"""One data set with its teacher and its rows: where each row's checkpoints and graphs are."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from rows import ROWS, Row
from sets import Set
from workbench import SEED, Workbench

from compressor import data as data_room
from compressor.graph.halves import LOWER, UPPER, Halves
from compressor.models.checkpoint import load_tokenizer
from compressor.stages.context import Checkpoint
from compressor.tasks import make_task


class Bench(Workbench):
    """A data set's rows, in a folder of its own."""

    def __init__(self, entry: Set, options: argparse.Namespace) -> None:
        self.set = entry
        self.options = options
        work = Path(options.work).resolve() / entry.name
        work.mkdir(parents=True, exist_ok=True)
        data = data_room.load(entry.make(options, work), entry.task, SEED)
        task = make_task(entry.task, entry.features, data.labels, multi_label=data.multi_label)
        fine_tuned = work / "checkpoints" / "teacher"
        source = fine_tuned if fine_tuned.exists() else Path(options.encoder)
        super().__init__(
            work, task, data, Checkpoint(source.resolve(), "teacher" if fine_tuned.exists() else "encoder")
        )
        listed = [row for row in ROWS if entry.name in row.sets]
        self.rows = [row for row in listed if not options.rows or row.key in options.rows]

    def source(self, row: Row) -> Checkpoint:
        """What a row's first stage begins with."""
        return Checkpoint(Path(self.options.encoder).resolve(), "encoder") if row.anew else self.teacher

    def located(self, values: dict[str, Any]) -> dict[str, Any]:
        """A stage's settings, with the checkpoints of the rows that it names as further teachers."""
        rows = {row.key: row for row in ROWS}
        named = [str(self.checkpoint(rows[key]).path) for key in values.get("teachers", [])]
        return {**values, "teachers": named} if named else values

    def checkpoint(self, row: Row) -> Checkpoint:
        """The checkpoint of a row's last stage."""
        key = self.after(row, len(row.stages))
        return Checkpoint(self.work / "checkpoints" / key, key)

    def after(self, row: Row, number: int) -> str:
        """Key of the checkpoint after so many of the row's stages."""
        return f"{row.trained_as}-{number}" if number else "teacher"

    def graph(self, row: Row) -> Path:
        """The row's finished graph."""
        return self.work / "graphs" / f"{row.key}.onnx"

    def halves(self, row: Row) -> Halves:
        """Where the two halves of the row's graph are, of a model that keeps two texts apart below."""
        folder = self.work / "graphs" / f"{row.key}-halves"
        return Halves(folder / LOWER, folder / UPPER)

    def texts(self, row: Row) -> tuple[list[list[int]], int, int]:
        """The held-out rows as the row's tokenizer cuts them, and the ids of its padding and of its separator."""
        tokenizer: Any = load_tokenizer(self.checkpoint(row).path)
        features = self.task.features(self.data.dev, tokenizer, labelled=False)
        return [feature.inputs["input_ids"] for feature in features], tokenizer.pad_token_id, tokenizer.sep_token_id
