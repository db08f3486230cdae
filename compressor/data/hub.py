"""Data sets of the Hugging Face hub, where it can be reached or the data set is in its local cache."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from compressor.config.run import LABEL_TASKS, DataSettings, TaskName
from compressor.data.files import label_names
from compressor.data.presence import require_data
from compressor.data.records import LabelNames, Record, to_examples
from compressor.data.source import Source, collect_labels
from compressor.errors import DataError
from compressor.tasks.examples import Example, TextExample

DEV_SPLIT = "validation"


def load(settings: DataSettings, task: TaskName, seed: int) -> Source:
    """Read the splits `data.train` (none where it is null) and `data.dev` (validation unless set) of `data.name`.

    Class numbers become the data set's own class names. Raises `DataError` if the data set cannot be had.
    """
    require_data(settings)
    name = settings.name or ""
    labels = label_names(settings, task)
    parts: list[list[Example]] = []
    for part in (settings.train, settings.dev or DEV_SPLIT):
        if not part:
            parts.append([])
            continue
        rows = _rows(settings, part)
        names = labels if labels.names else LabelNames(_class_names(rows.features), f"the data set {name}")
        records = [Record(row, f"{name}, {part}[{index}]") for index, row in enumerate(_plain(rows))]
        parts.append(to_examples(records, settings, task, names))
        labels = names
    train, dev = parts
    several = any(isinstance(example, TextExample) and len(example.labels) != 1 for example in (*train, *dev))
    return Source(
        "-".join(filter(None, (name.replace("/", "-"), settings.config))),
        train,
        dev,
        (labels.names or collect_labels([*train, *dev])) if task in LABEL_TASKS else (),
        several or settings.label_separator is not None,
    )


def _rows(settings: DataSettings, part: str) -> Any:
    """The rows of a split, as `datasets` gives them."""
    import datasets
    from datasets.exceptions import DatasetsError

    try:
        return datasets.load_dataset(settings.name, settings.config, split=part)
    except (OSError, ValueError, RuntimeError, DatasetsError) as error:  # offline, unknown, no such split, damaged
        reason = " ".join(str(error).split())[:300].rstrip(".")
        raise DataError(
            f"the data set '{settings.name}' (split '{part}') cannot be had from the Hugging Face hub: {reason}. "
            "Check the name and the network (HF_HUB_OFFLINE), or use files of your own: data=files data.dev=PATH."
        ) from error


def _plain(rows: Any) -> Iterable[Mapping[str, Any]]:
    yield from rows


def _class_names(features: Mapping[str, Any]) -> tuple[str, ...]:
    """The class names of the label column: of the column itself or of its items."""
    for column in ("label", "labels", "ner_tags", *features):
        feature = features.get(column)
        names = getattr(feature, "names", None) or getattr(getattr(feature, "feature", None), "names", None)
        if names:
            return tuple(names)
    return ()
