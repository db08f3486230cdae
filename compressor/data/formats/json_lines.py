"""JSON lines: one object a line."""

from __future__ import annotations

import json

from compressor.data.formats.json_value import json_value
from compressor.data.records import Record
from compressor.errors import DataError


def read_json_lines(text: str, where: str) -> list[Record]:
    """One record a line; empty lines are skipped. Raises `DataError` with the line that is not a JSON object."""
    records = []
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        place = f"{where}, line {number}"
        try:
            value = json_value(line, place)
        except json.JSONDecodeError as error:
            raise DataError(f"{place} is not JSON ({error.msg} at column {error.colno}); is it cut short?") from error
        if not isinstance(value, dict):
            raise DataError(f"{place}: a JSON object is needed, not {line.strip()[:40]!r}.")
        records.append(Record(value, place))
    return records
