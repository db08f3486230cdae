"""Local files: SQuAD JSON, CSV, TSV, JSON lines, CoNLL and lists by split; plain or .gz."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from compressor.config.paths import expanded
from compressor.config.run import LABEL_TASKS, TEXT_TASKS, DataSettings, TaskName
from compressor.data.formats import conll, json_file
from compressor.data.formats.json_lines import read_json_lines
from compressor.data.formats.tables import read_table, unnamed_header
from compressor.data.presence import divide, require_data
from compressor.data.reading import read_text
from compressor.data.records import LabelNames, to_examples
from compressor.data.source import Source, collect_labels
from compressor.errors import DataError, TaskError
from compressor.tasks.examples import Example

EXTENSIONS = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".tab": "tsv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "squad",
    ".conll": "conll",
    ".iob": "conll",
    ".bio": "conll",
}
TASKS_OF_FORMAT: dict[str, tuple[TaskName, ...]] = {
    "squad": ("question-answering", "text-classification"),  # lists by split are for classification
    "csv": TEXT_TASKS,
    "tsv": TEXT_TASKS,
    "jsonl": ("question-answering", *TEXT_TASKS, "token-classification"),
    "conll": ("token-classification",),
}
TRAIN_PARTS = ("train",)
DEV_PARTS = ("dev", "val", "validation", "test")


def load(settings: DataSettings, task: TaskName, seed: int) -> Source:
    """Read `data.train` (if given) and `data.dev`.

    A path may end in #part (or #part+part) to choose lists of a JSON file that holds several, as CLINC150 does.
    Raises `DataError` for whatever is wrong with a file and `TaskError` for a format that cannot hold the task.
    """
    require_data(settings)
    labels = label_names(settings, task)
    train = read_examples(settings.train, settings, task, labels, TRAIN_PARTS) if settings.train else []
    dev = read_examples(settings.dev or "", settings, task, labels, DEV_PARTS)
    names = labels.names or collect_labels([*train, *dev])
    multi_label = task == "text-classification" and _several_labels(settings, [*train, *dev])
    return Source(_name(settings), train, dev, names if task in LABEL_TASKS else (), multi_label)


def label_names(settings: DataSettings, task: TaskName) -> LabelNames:
    """The names of the file `data.labels`, one a line; nothing where it is not given.

    Raises `DataError` where names, or several of them, are said to be there and the task has numbers.
    """
    for key in ("labels", "label_separator"):
        if task == "text-regression" and getattr(settings, key) is not None:
            raise DataError(f"data.{key} is for labels that are names, and text-regression has numbers: leave it out.")
    if settings.labels is None:
        return LabelNames()
    text = read_text(expanded(settings.labels))
    names = [line.strip() for line in text.split("\n") if line.strip()]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise DataError(f"{settings.labels}: the label '{twice[0]}' stands there twice.")
    return LabelNames(names, settings.labels)


def read_examples(
    location: str, settings: DataSettings, task: TaskName, labels: LabelNames, parts: tuple[str, ...]
) -> list[Example]:
    """All examples of one file; `parts` are the lists to look for in a file that holds several, the first found."""
    path, chosen = divide(location)
    where = str(path)
    kind = _format(path, settings)
    if task not in TASKS_OF_FORMAT[kind]:
        raise TaskError(f"{where}: {kind} files cannot hold {task} examples; they are for {_formats_of(task)}.")
    text = read_text(path)
    examples: list[Example] = []
    if kind == "squad":
        examples += _read_json(text, where, task, labels, chosen, parts)
    elif kind == "conll":
        examples += conll.read_conll(text, where, settings.label_column, labels)
    else:
        read_lines = kind == "jsonl"
        tabs = kind == "tsv"
        records = read_json_lines(text, where) if read_lines else read_table(text, where, settings, task, tabs=tabs)
        examples += to_examples(records, settings, task, labels)
    if not examples:
        raise DataError(f"{where}: there is not one example in it.")
    return examples


def header_note(settings: DataSettings, task: TaskName, labels: Sequence[str]) -> str:
    """What to say of unknown labels of which one stands in a table's first line alone, as a header would; or ""."""
    if settings.source != "files":
        return ""
    for path in [divide(location)[0] for location in (settings.train, settings.dev) if location]:
        kind = _format(path, settings)
        if kind in ("csv", "tsv"):
            note = unnamed_header(read_text(path), str(path), settings, task, labels, tabs=kind == "tsv")
            if note:
                return note
    return ""


def _read_json(
    text: str, where: str, task: TaskName, labels: LabelNames, chosen: list[str], parts: tuple[str, ...]
) -> list[Example]:
    value = json_file.read_json(text, where)
    if task == "question-answering":
        return list(json_file.read_squad(value, where))
    if json_file.is_squad(value):
        raise TaskError(f"{where}: this is a file of questions (SQuAD); use it with task=question-answering.")
    if not json_file.is_split_lists(value):
        raise DataError(f'{where}: an object of lists by split is needed: {{"train": [["text", "label"], ...]}}.')
    found = chosen or [part for part in parts if part in value][:1]
    if not found:
        raise DataError(f"{where} has {', '.join(value)}: choose with PATH#PART.")
    return list(json_file.read_split_lists(value, where, found, labels))


def _format(path: Path, settings: DataSettings) -> str:
    if settings.format != "auto":
        return settings.format
    suffix = Path(path.name.removesuffix(".gz")).suffix.lower()
    if suffix not in EXTENSIONS:
        raise DataError(
            f"{path}: the extension '{suffix}' does not tell the format: set data.format to squad, csv, tsv, jsonl or "
            "conll."
        )
    return EXTENSIONS[suffix]


def _formats_of(task: TaskName) -> str:
    return " or ".join(kind for kind, tasks in TASKS_OF_FORMAT.items() if task in tasks) + f" ({task})"


def _several_labels(settings: DataSettings, examples: list[Example]) -> bool:
    return settings.label_separator is not None or any(
        len(getattr(example, "labels", "x")) != 1 for example in examples
    )


def _name(settings: DataSettings) -> str:
    if settings.name:
        return settings.name
    path, _ = divide(settings.dev or "")
    stem = path.name.removesuffix(".gz").rsplit(".", 1)[0]
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", f"{path.resolve().parent.name}-{stem}")
