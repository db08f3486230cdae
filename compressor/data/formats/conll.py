"""CoNLL columns: a word a line, its tag in the last column, a blank line after each sentence."""

from __future__ import annotations

import re

from compressor.data.records import LabelNames, whole_number
from compressor.errors import DataError
from compressor.tasks.examples import TokenExample

DOCUMENT_START = "-DOCSTART-"


def read_conll(text: str, where: str, tag_column: str | None, labels: LabelNames) -> list[TokenExample]:
    """Sentences of a CoNLL file, columns divided by tabs or else by blanks; `tag_column` counts from 0.

    Lines of white space alone end a sentence; comments before a sentence (# and no tab) and document marks are skipped.
    Raises `DataError` with the line that has more or fewer columns than the first.
    """
    sentences: list[TokenExample] = []
    words: list[str] = []
    tags: list[str] = []
    width = 0
    for number, line in enumerate([*text.split("\n"), ""], start=1):
        place = f"{where}, line {number}"
        if not line.strip():
            if words:
                sentences.append(TokenExample(tuple(words), tuple(tags)))
                words, tags = [], []
            continue
        fields = _fields(line)
        comment = line.startswith("#") and "\t" not in line and len(fields) != width and not words
        if comment or fields[0] == DOCUMENT_START:
            continue
        width = width or len(fields)
        if width < 2:
            raise DataError(f"{place}: a word and its tag are needed, divided by a tab or a blank: {line.strip()!r}.")
        if len(fields) != width or not fields[0]:
            raise DataError(f"{place}: {len(fields)} columns where the first line has {width}: {line.strip()!r}.")
        column = _column(tag_column, width, place)
        words.append(fields[0])
        tags.append(labels.name(fields[column], place))
    if not sentences:
        raise DataError(f"{where}: there is not one sentence in it.")
    return sentences


def _fields(line: str) -> list[str]:
    line = line.rstrip("\r\n")
    if "\t" in line:
        return [field.strip() for field in line.split("\t")]
    return re.split(r" +", line.strip(" "))


def _column(tag_column: str | None, width: int, place: str) -> int:
    if tag_column is None:
        return width - 1
    column = whole_number(tag_column)
    if column is None or not 0 < column < width:
        raise DataError(f"{place}: data.label_column = {tag_column} must be a column number from 1 to {width - 1}.")
    return column
