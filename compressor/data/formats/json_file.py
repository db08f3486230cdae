"""JSON files of one object: the SQuAD layout, and the layout of lists by split (CLINC150)."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from compressor.data.formats.json_value import json_value
from compressor.data.records import LabelNames, question_example
from compressor.errors import DataError
from compressor.tasks.examples import QuestionExample, TextExample


def read_json(text: str, where: str) -> Any:
    """The value of a JSON file; raises `DataError`, for what is not JSON with line and column."""
    try:
        return json_value(text, where)
    except json.JSONDecodeError as error:
        short = "; the file is cut short" if error.pos >= len(text.rstrip()) - 1 or "Untermin" in error.msg else ""
        raise DataError(f"{where}, line {error.lineno}, column {error.colno}: {error.msg}{short}.") from error


def read_squad(value: Any, where: str) -> list[QuestionExample]:
    """Questions of SQuAD v1.1 JSON: data, paragraphs, qas. Raises `DataError` that names the place and the example."""
    return list(_questions(value, where))


def _questions(value: Any, where: str) -> Iterator[QuestionExample]:
    for article_number, article in enumerate(_list(value, "data", where)):
        place = f"{where}, data[{article_number}]"
        for number, paragraph in enumerate(_list(article, "paragraphs", place)):
            inner = f"{place}.paragraphs[{number}]"
            context = _text(paragraph, "context", inner)
            for index, question in enumerate(_list(paragraph, "qas", inner)):
                spot = f"{inner}.qas[{index}]"
                text = _text(question, "question", spot)
                yield question_example(str(question.get("id", spot)), text, context, question.get("answers"), where)


def read_split_lists(value: Mapping[str, Any], where: str, parts: list[str], labels: LabelNames) -> list[TextExample]:
    """Texts of {"train": [[text, label], ...], ...} from the named parts."""
    examples = []
    for part in parts:
        if part not in value:
            raise DataError(f"{where}: there is no part '{part}'; it has {', '.join(value)}.")
        for index, row in enumerate(value[part]):
            place = f"{where}, {part}[{index}]"
            if not isinstance(row, list) or len(row) != 2 or not all(isinstance(entry, str) for entry in row):
                raise DataError(f"{place}: a pair of text and label is needed, not {str(row)[:60]}.")
            examples.append(TextExample(row[0], None, (labels.name(row[1], place),)))
    return examples


def is_squad(value: Any) -> bool:
    """Whether a JSON value has the outer form of SQuAD."""
    return isinstance(value, dict) and isinstance(value.get("data"), list)


def is_split_lists(value: Any) -> bool:
    """Whether a JSON value is an object of lists by split."""
    return isinstance(value, dict) and bool(value) and all(isinstance(rows, list) for rows in value.values())


def _list(value: Any, key: str, where: str) -> list[Any]:
    if not isinstance(value, dict) or not isinstance(value.get(key), list):
        raise DataError(f"{where}: a list '{key}' is needed here; this is not the SQuAD layout.")
    found: list[Any] = value[key]
    return found


def _text(value: Any, key: str, where: str) -> str:
    if not isinstance(value, dict) or not isinstance(value.get(key), str):
        raise DataError(f"{where}: the text '{key}' is missing.")
    found: str = value[key]
    return found
