"""How long texts take to become tokens, apart from the model."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from compressor.devices import child
from compressor.devices.place import Place
from compressor.tasks.examples import Example, QuestionExample, TokenExample, spread

TIMEOUT_S = 300.0
MOST_TEXTS = 200
_FILES = {"tokenizer": "tokenizer.json", "texts": "texts.json"}


@dataclass(frozen=True)
class Tokenization:
    """Milliseconds a text, one text at a time; None where the place has no tokenizers library."""

    p50_ms: float | None
    p90_ms: float | None
    texts: int
    note: str  # by what, or why not
    on_device: bool
    measured_on: str


def measure_tokenization(
    tokenizer: Path, examples: Sequence[Example], place: Place, *, max_length: int
) -> Tokenization:
    """Time `tokenizer.json` on up to `MOST_TEXTS` examples where the model is measured, in a process of its own.

    Raises `DeviceError` when the place cannot be reached.
    """
    sample = spread(examples, MOST_TEXTS)
    request = {"mode": "tokenize", **_FILES, "max_length": max_length, "threads": 1}
    with child.work_folder() as folder:
        shutil.copyfile(tokenizer, folder / _FILES["tokenizer"])
        (folder / _FILES["texts"]).write_text(json.dumps([_text(example) for example in sample]), encoding="utf-8")
        answer = place.run_probe(request, folder, timeout_s=TIMEOUT_S)
    times = answer["times_ms"]
    p50, p90 = (float(value) for value in np.percentile(times, (50, 90))) if times else (None, None)
    return Tokenization(p50, p90, len(sample), answer["note"], place.on_device, place.measured_on)


def _text(example: Example) -> list[object]:
    """What `Tokenizer.encode` takes: a text or words, and a second text or null."""
    if isinstance(example, QuestionExample):
        return [example.question, example.context]
    if isinstance(example, TokenExample):
        return [list(example.words), None]
    return [example.text, example.pair]
