"""Questions about paragraphs for the tables, as settings of `data=files`."""

from __future__ import annotations

import gzip
import json
from collections.abc import Sequence
from pathlib import Path

from compressor.config.run import DataSettings


def squad(
    folder: Path, work: Path, *, more_train: Sequence[str] = (), search: int = 300, max_dev: int | None = None
) -> DataSettings:
    """A part of SQuAD v1.1: 44 articles to train on, with further files of its format, and 24 that are scored."""
    return DataSettings(
        source="files",
        train=str(_train_file(work, [folder / "train_44_articles.json.gz", *map(Path, more_train)])),
        dev=str(folder / "dev_24_articles.json.gz"),
        search=search,
        max_dev=max_dev,
    )


def _train_file(work: Path, files: list[Path]) -> Path:
    """One file; several are put together once."""
    merged = work / "train.json"
    if len(files) == 1:
        return files[0]
    if not merged.exists():
        texts = [gzip.decompress(file.read_bytes()) for file in files]
        articles = [article for text in texts for article in json.loads(text)["data"]]
        merged.write_text(json.dumps({"data": articles}))
    return merged
