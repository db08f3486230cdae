"""CSV and TSV tables, with or without a header."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence

from compressor.config.run import DataSettings, TaskName
from compressor.data.records import PAIR_COLUMNS, TEXT_COLUMNS, Record, label_columns
from compressor.errors import DataError

LARGEST_FIELD = 2**31 - 1
_NOTE = (
    "The first line of {where} was read as data: if it names the columns, set data.header=true with "
    "data.text_column=NAME and data.label_column=NAME."
)


def read_table(text: str, where: str, settings: DataSettings, task: TaskName, *, tabs: bool) -> list[Record]:
    """Rows of a table; without a header the columns are called 0, 1, 2 ...

    In TSV quotes are plain characters, as data sets have them. Raises `DataError` for a row with more or fewer fields
    than the first one and for a quote that never ends.
    """
    rows = list(_rows(text, where, tabs=tabs))
    note = _NOTE.format(where=where) if settings.header is None else ""
    columns: Sequence[str] = [str(number) for number in range(len(rows[0][1]))]
    if _has_header(rows[0][1], settings, task):
        columns = [column.strip() for column in rows.pop(0)[1]]
        if len(set(columns)) < len(columns):
            raise DataError(f"{where}, line 1: two columns have the same name: {', '.join(columns)}.")
    if not rows:
        raise DataError(f"{where}: there is a header but not one row.")
    records = []
    for line, row in rows:
        if len(row) != len(columns):
            fields = "1 field" if len(row) == 1 else f"{len(row)} fields"
            raise DataError(f"{where}, line {line}: {fields} where the first line has {len(columns)}.")
        records.append(Record(dict(zip(columns, row, strict=True)), f"{where}, line {line}", note if line == 1 else ""))
    return records


def unnamed_header(
    text: str, where: str, settings: DataSettings, task: TaskName, labels: Sequence[str], *, tabs: bool
) -> str:
    """What to say where one of these unknown labels stands in the first line alone, which was read as data; or ""."""
    (_, first), *rows = _rows(text, where, tabs=tabs)
    if settings.header is not None or _has_header(first, settings, task):
        return ""
    elsewhere = {field.strip() for _, row in rows for field in row}
    alone = {field.strip() for field in first} - elsewhere
    return _NOTE.format(where=where) if alone & set(labels) else ""


def _rows(text: str, where: str, *, tabs: bool) -> Iterator[tuple[int, list[str]]]:
    """Rows that are not empty, with the line that each begins on."""
    csv.field_size_limit(LARGEST_FIELD)
    lines = io.StringIO(text, newline="")
    reader = csv.reader(lines, delimiter="\t", quoting=csv.QUOTE_NONE) if tabs else csv.reader(lines, strict=True)
    line = 1
    try:
        for row in reader:
            if row:
                yield line, row
            line = reader.line_num + 1
    except csv.Error as error:
        raise DataError(
            f"{where}, line {line}: the row that begins here cannot be read ({error}); is the file cut short or a "
            "quote not closed?"
        ) from error


def _has_header(first: Sequence[str], settings: DataSettings, task: TaskName) -> bool:
    if settings.header is not None:
        return settings.header
    given = (settings.text_column, settings.pair_column, settings.label_column)
    chosen = {name for name in given if name is not None and not name.isdecimal()}
    names = {field.strip().lower() for field in first}
    known = {*TEXT_COLUMNS, *PAIR_COLUMNS, *label_columns(task)}
    return bool(names & known) or bool(chosen & {field.strip() for field in first})
