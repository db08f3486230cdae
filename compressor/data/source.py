"""What a source gives before it is divided into parts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from compressor.config.run import DataSettings, TaskName
from compressor.tasks.examples import Example, TextExample, TokenExample


@dataclass(frozen=True)
class Source:
    """All training examples (none where only dev data was given), all dev examples, and the label names."""

    name: str
    train: Sequence[Example]
    dev: Sequence[Example]
    labels: tuple[str, ...]
    multi_label: bool = False


def demo_source(settings: DataSettings, task: TaskName, seed: int) -> Source:
    """The embedded demo of a task, generated from the seed; raises `TaskError` for a task that it does not have."""
    from compressor.data import demo

    return Source(
        "demo",
        demo.examples(task, "train", settings.demo_train, seed),
        demo.examples(task, "dev", settings.demo_dev, seed),
        demo.LABELS[task],
    )


def collect_labels(examples: Iterable[Example]) -> tuple[str, ...]:
    """All labels or tags that occur: numbers by value, tags with O first and by type, others by the alphabet."""
    found: set[str] = set()
    for example in examples:
        if isinstance(example, TextExample):
            found.update(example.labels)
        elif isinstance(example, TokenExample):
            found.update(example.tags)
    if all(label.isdecimal() for label in found):
        return tuple(sorted(found, key=lambda label: (len(label.lstrip("0")), label.lstrip("0"), label)))
    return tuple(sorted(found, key=_tag_order))


def _tag_order(label: str) -> tuple[bool, str, str]:
    prefix, _, kind = label.rpartition("-")
    return (label != "O", kind, prefix) if prefix in ("B", "I", "E", "S") else (label != "O", label, "")
