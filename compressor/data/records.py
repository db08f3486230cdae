"""Turns rows with named columns (tables, JSON lines, the hub) into examples; guesses the columns."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from compressor.config.run import DataSettings, TaskName
from compressor.errors import DataError
from compressor.tasks.examples import Answer, Example, QuestionExample, ScoredExample, TextExample, TokenExample
from compressor.tasks.question_answering import check_answer

TEXT_COLUMNS = ("text", "sentence", "sentence1", "question1", "premise", "utterance", "content", "review", "query")
PAIR_COLUMNS = ("sentence2", "question2", "hypothesis", "text_pair", "pair")
LABEL_COLUMNS = ("label", "labels", "category", "intent", "class", "target", "emotion", "sentiment")
SCORE_COLUMNS = ("score", "similarity_score", "similarity", "rating", "label", "labels", "target")
WORD_COLUMNS = ("tokens", "words")
TAG_COLUMNS = ("ner_tags", "tags", "labels", "ner")


@dataclass(frozen=True)
class Record:
    """One row: its columns, and where it stands ("train.csv, line 12")."""

    fields: Mapping[str, Any]
    where: str
    note: str = ""  # what to say behind an error about its label: whether it may be a header, say


class LabelNames:
    """Turns what stands in a label field into a label name."""

    def __init__(self, names: Sequence[str] = (), where: str = "data.labels") -> None:
        """`names` is empty where labels are taken as they are; `where` names the list in errors."""
        self.names, self.where = tuple(names), where

    def name(self, value: Any, where: str, note: str = "") -> str:
        """A known name as it is, a number by its place in the list; raises `DataError` (with `note`) for the rest."""
        text = str(int(value)) if isinstance(value, float) and value.is_integer() else str(value).strip()
        if value is None or not text:
            raise DataError(f"{where}: the label is empty.")
        if not self.names or text in self.names:
            return text
        place = whole_number(text)
        if place is not None and place < len(self.names):
            return self.names[place]
        known = f"the {len(self.names)} labels of {self.where}"
        raise DataError(f"{where}: the label '{text:.80}' is not among {known}. {note}".rstrip())


def to_examples(records: Sequence[Record], settings: DataSettings, task: TaskName, labels: LabelNames) -> list[Example]:
    """All records as examples of the task; columns are looked up once, in the first record."""
    if not records:
        return []
    if task == "question-answering":
        return [_question(record) for record in records]
    columns = list(records[0].fields)
    where = records[0].where
    if task == "token-classification":
        words = _column(columns, settings.text_column, WORD_COLUMNS, "data.text_column", where)
        tags = _column(columns, settings.label_column, TAG_COLUMNS, "data.label_column", where)
        return [_sentence(record, words, tags, labels) for record in records]
    text = _column(columns, settings.text_column, TEXT_COLUMNS, "data.text_column", where, position=0)
    known = label_columns(task)
    label = _column(columns, settings.label_column, known, "data.label_column", where, position=1)
    pair = None
    if settings.pair_column is not None or any(name in columns for name in PAIR_COLUMNS):
        pair = _column(columns, settings.pair_column, PAIR_COLUMNS, "data.pair_column", where)
    if task == "text-regression":
        return [_scored(record, text, pair, label) for record in records]
    return [_text(record, (text, pair, label), settings.label_separator, labels) for record in records]


def label_columns(task: TaskName) -> tuple[str, ...]:
    """Names that the column with a text's label, or with its number, may have; the first found is taken."""
    return SCORE_COLUMNS if task == "text-regression" else LABEL_COLUMNS


def _column(
    columns: Sequence[str], wanted: str | None, known: Sequence[str], key: str, where: str, position: int | None = None
) -> str:
    """The wanted column by name or number, else the first known name, else the `position` of a table without header."""
    if wanted is not None:
        if wanted in columns:
            return wanted
        place = whole_number(wanted)
        if place is not None and place < len(columns):
            return columns[place]
        raise DataError(f"{where}: there is no column '{wanted}' ({key}); the columns are {', '.join(columns)}.")
    lower = {column.strip().lower(): column for column in reversed(columns)}
    for name in known:
        if name in lower:
            return lower[name]
    if position is not None and position < len(columns) and columns[position] == str(position):
        return columns[position]
    raise DataError(f"{where}: none of the columns {', '.join(columns)} is known to be the right one: set {key}.")


def whole_number(text: str) -> int | None:
    """The whole number that a text is; None for other text, and for numbers too long to count anything."""
    return int(text) if text.isdecimal() and len(text) <= 18 else None


def field(record: Record, name: str) -> Any:
    """A field of a record; raises `DataError` if it is missing."""
    if name not in record.fields or record.fields[name] is None:
        raise DataError(f"{record.where}: '{name}' is missing.")
    return record.fields[name]


def text_field(record: Record, name: str) -> str:
    """A field that must be text; raises `DataError` if it is missing or something else."""
    value = field(record, name)
    if not isinstance(value, str):
        raise DataError(f"{record.where}: '{name}' must be text, not {value!r}.")
    return value


def _text(
    record: Record, columns: tuple[str, str | None, str], separator: str | None, labels: LabelNames
) -> TextExample:
    text, pair, label = columns
    value = field(record, label)
    chosen: Sequence[Any] = [value]
    if isinstance(value, list):
        chosen = value
    elif separator is not None:
        chosen = [part for part in str(value).split(separator) if part.strip()]
    names = tuple(labels.name(part, record.where, record.note) for part in chosen)
    return TextExample(text_field(record, text), text_field(record, pair) if pair else None, names)


def _scored(record: Record, text: str, pair: str | None, label: str) -> ScoredExample:
    score = _finite_number(field(record, label), f"{record.where}: the label", record.note)
    return ScoredExample(text_field(record, text), text_field(record, pair) if pair else None, score)


def _finite_number(value: Any, what: str, note: str) -> float:
    """The number that a field holds, as a number or as text; raises `DataError` (with `note`) for anything else."""
    text = str(value).strip()
    if not text:
        raise DataError(f"{what} is empty.")
    try:
        if isinstance(value, bool) or not isinstance(value, int | float | str) or "_" in text:
            raise ValueError
        number = float(value)
    except (ValueError, OverflowError) as error:
        raise DataError(
            f"{what} '{text:.80}' is not a number, which text-regression needs: name another column by "
            f"data.label_column, or use task=text-classification for labels that are names. {note}".rstrip()
        ) from error
    if not math.isfinite(number):
        raise DataError(f"{what} '{text:.80}' is not a finite number: correct or remove the row.")
    return number


def _sentence(record: Record, words: str, tags: str, labels: LabelNames) -> TokenExample:
    tokens, values = field(record, words), field(record, tags)
    for name, value in ((words, tokens), (tags, values)):
        if not isinstance(value, list):
            raise DataError(f"{record.where}: '{name}' must be a list with one entry a word, not {value!r}.")
    if len(tokens) != len(values):
        raise DataError(f"{record.where}: there are {len(tokens)} words but {len(values)} tags.")
    return TokenExample(tuple(map(str, tokens)), tuple(labels.name(value, record.where) for value in values))


def _question(record: Record) -> QuestionExample:
    """A question in the flat layout of the hub: answers as {"text": [...], "answer_start": [...]} or a list."""
    name = str(record.fields.get("id") or record.where)
    answers = field(record, "answers")
    if isinstance(answers, Mapping):
        texts, starts = answers.get("text"), answers.get("answer_start")
        if not isinstance(texts, list) or not isinstance(starts, list) or len(texts) != len(starts):
            raise DataError(f"{record.where}: 'answers' needs 'text' and 'answer_start', lists of the same length.")
        answers = [{"text": text, "answer_start": start} for text, start in zip(texts, starts, strict=True)]
    return question_example(name, text_field(record, "question"), text_field(record, "context"), answers, record.where)


def question_example(name: str, question: str, context: str, answers: Any, where: str) -> QuestionExample:
    """Check a question's answers and make an example of it; raises `DataError` naming the example."""
    if not isinstance(answers, list) or not answers:
        raise DataError(
            f"{where}, example '{name}': there is no answer; unanswerable questions (SQuAD 2.0) are not supported: "
            "remove them."
        )
    found = []
    for answer in answers:
        if not isinstance(answer, Mapping):
            raise DataError(f"{where}, example '{name}': an answer must have 'text' and 'answer_start'.")
        text, start = answer.get("text"), answer.get("answer_start")
        if not isinstance(text, str) or not isinstance(start, int):
            raise DataError(f"{where}, example '{name}': an answer must have 'text' and a whole 'answer_start'.")
        found.append(Answer(text, start))
        check_answer(context, found[-1], name, where)
    return QuestionExample(name, question, context, tuple(found))
