"""A workbench for one data set of texts and labels."""

from __future__ import annotations

import argparse
from pathlib import Path

from text_sets import DATASETS
from workbench import SEED, Workbench

from compressor import data as data_room
from compressor.config.run import FeatureSettings
from compressor.stages.context import Checkpoint
from compressor.tasks import make_task


class TextBench(Workbench):
    """One data set, and the encoder that its teacher is fine-tuned from; `options` has encoder, data and work."""

    def __init__(self, name: str, options: argparse.Namespace) -> None:
        self.name = name
        self.options = options
        work = Path(options.work).resolve() / name
        work.mkdir(parents=True, exist_ok=True)
        data = data_room.load(DATASETS[name](Path(options.data), work), "text-classification", SEED)
        task = make_task("text-classification", FeatureSettings(), data.labels, multi_label=data.multi_label)
        super().__init__(work, task, data, Checkpoint(Path(options.encoder).resolve(), "encoder"))
