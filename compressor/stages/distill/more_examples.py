"""What a student learns from: the training data, unlabelled texts of a file, and changed copies of both."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from compressor.config.paths import expanded
from compressor.data.reading import read_text
from compressor.errors import DataError
from compressor.stages.context import StageContext
from compressor.stages.distill.augmentation import augmented
from compressor.stages.distill.settings import DistillSettings
from compressor.tasks.base import Task
from compressor.tasks.examples import Example, QuestionExample, ScoredExample, TextExample, TokenExample

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_NEEDED: dict[str, tuple[tuple[int, ...], str]] = {
    "question-answering": ((2,), "a question, a tab and its context"),
    "token-classification": ((1,), "one sentence without tabs"),
}
"""How many parts a line has, and what they are; other tasks take a text or a pair."""


def learning_examples(
    settings: DistillSettings, context: StageContext, tokenizer: PreTrainedTokenizerBase
) -> list[Example]:
    """All examples of a distillation; beyond the training data they have no labels."""
    examples = list(context.data.train)
    if settings.unlabelled:
        examples += unlabelled_examples(settings.unlabelled, context.task)
    changes = settings.augmentation()
    if changes:
        examples += augmented(examples, changes, str(tokenizer.mask_token or ""), context.seed)
    return examples


def unlabelled_examples(path: str, task: Task) -> list[Example]:
    """One example a line of a text file: a text; two, divided by a tab, are a pair, or a question and its context.

    Raises:
        DataError: A file that cannot be read, or a line that the task cannot use.
    """
    lines = read_text(expanded(path)).split("\n")
    return [
        _example(line.strip(), task, f"{path}, line {place}") for place, line in enumerate(lines, 1) if line.strip()
    ]


def _example(line: str, task: Task, where: str) -> Example:
    parts: Sequence[str] = [part.strip() for part in line.split("\t")]
    counts, needed = _NEEDED.get(task.name, ((1, 2), "a text, or two divided by a tab,"))
    if len(parts) not in counts or not all(parts):
        raise DataError(f"{where}: {needed} is needed for {task.name}.")
    if task.name == "question-answering":
        return QuestionExample(where, parts[0], parts[1])
    if task.name == "token-classification":
        return TokenExample(tuple(parts[0].split()))
    pair = parts[1] if len(parts) == 2 else None
    return ScoredExample(parts[0], pair) if task.name == "text-regression" else TextExample(parts[0], pair)
