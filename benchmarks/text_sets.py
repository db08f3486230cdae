"""Data sets of texts and labels for the tables, as settings of `data=files`."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path

from compressor.config.run import DataSettings


def clinc150(folder: Path, work: Path) -> DataSettings:
    """150 intents, in scope; its test part is what is scored."""
    parts = json.loads(gzip.decompress((folder / "clinc150" / "data_full.json.gz").read_bytes()))
    files = {}
    for part in ("train", "test"):
        files[part] = work / f"{part}.jsonl"
        lines = [json.dumps({"text": text, "label": label}) for text, label in parts[part]]
        files[part].write_text("\n".join(lines) + "\n", encoding="utf-8")
    return DataSettings(source="files", train=str(files["train"]), dev=str(files["test"]))


def banking77(folder: Path, work: Path) -> DataSettings:
    """77 intents; its test part is what is scored."""
    source = folder / "banking77"
    return DataSettings(
        source="files",
        train=str(source / "train.csv.gz"),
        dev=str(source / "test.csv.gz"),
        text_column="text",
        label_column="category",
    )


def goemotions(folder: Path, work: Path) -> DataSettings:
    """28 labels, any number of them a text; a part of it."""
    source = folder / "goemotions"
    return DataSettings(
        source="files",
        train=str(source / "train.tsv.gz"),
        dev=str(source / "test.tsv.gz"),
        text_column=0,
        label_column=1,
        header=False,
        labels=str(source / "labels.txt"),
        label_separator=",",
        max_train=24_000,
        max_dev=2_000,
    )


BATCH_SIZES = {"clinc150": 64, "banking77": 64, "goemotions": 32}
"""Texts an update."""
DATASETS: dict[str, Callable[[Path, Path], DataSettings]] = {
    "clinc150": clinc150,
    "banking77": banking77,
    "goemotions": goemotions,
}
