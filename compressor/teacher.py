"""The teacher of a run: found, identified, and its labels in the order of its outputs. Imports nothing heavy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from compressor.cache import Cache, make_key
from compressor.config.run import LABEL_TASKS, DataSettings, TaskName
from compressor.data.splits import Splits
from compressor.errors import DataError, TaskError
from compressor.keys import file_fingerprint, folder_fingerprint, versions
from compressor.models.config_file import label_count, labels_of, read_config
from compressor.models.locate import locate
from compressor.request import Request
from compressor.stages.context import Checkpoint
from compressor.tasks.examples import TextExample, TokenExample

DEMO_VERSION = 1
"""Raised when the demo's teacher is written out otherwise: another kind of tokenizer or other files."""

_HEADS: dict[TaskName, str] = {
    "question-answering": "ForQuestionAnswering",
    "text-classification": "ForSequenceClassification",
    "text-regression": "ForSequenceClassification",
    "token-classification": "ForTokenClassification",
}


def teacher_key(request: Request, cache: Cache) -> str:
    """What the teacher's weights, config and tokenizer are, as a cache key."""
    if request.teacher.source == "demo":
        return _demo_key(request.task)
    folder = locate(request.teacher.path or "")
    return make_key("teacher", {"files": folder_fingerprint(folder, cache.root / ".fingerprints.json")})


def _demo_key(task: TaskName) -> str:
    from compressor.data.demo import vocabulary
    from compressor.data.demo.teacher import WEIGHTS, shape

    parts = {
        "version": DEMO_VERSION,
        "weights": file_fingerprint(WEIGHTS),
        "config": shape(task),
        "vocabulary": vocabulary.vocabulary(),
    }
    return make_key("teacher", {"task": task, **parts, "libraries": versions(("transformers", "tokenizers"))})


def teacher_config(request: Request) -> dict[str, Any]:
    """The teacher's `config.json`."""
    if request.teacher.source == "demo":
        from compressor.data.demo.teacher import shape

        return shape(request.task)
    return read_config(request.teacher.path or "")


def find_teacher(request: Request, cache: Cache) -> Checkpoint:
    """The teacher's checkpoint: the embedded one written out, or a local folder or hub name."""
    key = teacher_key(request, cache)
    if request.teacher.source == "path":
        return Checkpoint(locate(request.teacher.path or ""), key)

    def make(output: Path, work: Path) -> None:
        from compressor.data import demo_teacher

        demo_teacher(request.task, output)

    return Checkpoint(cache.get_or_make(key, f"the demo's teacher for {request.task}", make).path, key)


def made_for(config: Mapping[str, Any], task: TaskName) -> bool:
    """Whether a `config.json` says that the checkpoint has a head for the task; one for a number has one output."""
    if task == "text-regression" and label_count(config) != 1:
        return False
    return any(str(name).endswith(_HEADS[task]) for name in config.get("architectures") or ())


def labels_for(
    config: Mapping[str, Any], task: TaskName, data_labels: Sequence[str], data: DataSettings
) -> tuple[str, ...]:
    """Label names in the order of the model's outputs: the teacher's, if it has a head that knows the data's.

    Raises `TaskError` for labels of the data that the teacher's head does not know; `data` is where they came from.
    """
    known = labels_of(config) if made_for(config, task) and task in LABEL_TASKS else ()
    unknown = [label for label in data_labels if label not in known]
    if known and unknown:
        from compressor.data.files import header_note

        note = header_note(data, task, unknown)
        raise TaskError(
            f"the teacher does not know the label '{unknown[0]}' of the data ({len(unknown)} of {len(data_labels)} "
            f"are unknown; it has {', '.join(known[:10])}): choose another teacher (teacher.path=...), or one without "
            f"a head. The demo's own teacher knows the demo's labels alone. {note}".rstrip()
        )
    return known or tuple(data_labels)


def require_learnable(data: Splits) -> None:
    """Refuse labels that a teacher without a head can never learn; files that list their labels are believed.

    Raises:
        DataError: A label of the held-out data is in no training example.
    """
    parts = [data.train, data.calibration, data.search]
    taught = {label for part in parts for example in part for label in _labels_of(example)}
    asked = {label for example in data.dev for label in _labels_of(example)}
    missing = sorted(asked - taught)
    if taught and missing:
        raise DataError(
            f"label '{missing[0]}' of the dev data is in no training example ({len(missing)} such labels), and the "
            "teacher has no head that knows it: mend the data, or give a teacher that is fine-tuned for it."
        )


def _labels_of(example: object) -> Sequence[str]:
    if isinstance(example, TextExample):
        return example.labels
    if isinstance(example, TokenExample):  # kinds of entities: B-PER without an I-PER beside it is no news
        return [tag.partition("-")[2] or tag for tag in example.tags]
    return ()
