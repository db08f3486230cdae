"""Values out of JSON text that is not to be trusted."""

from __future__ import annotations

import json
from typing import Any

from compressor.errors import DataError


def json_value(text: str, where: str) -> Any:
    """The value of a JSON text.

    Raises `json.JSONDecodeError` for text that is not JSON, and `DataError` that begins with `where` for JSON that
    cannot be used: nested too deeply, a number of thousands of digits, half of a character (a lone surrogate).
    """
    try:
        value = json.loads(text)
    except json.JSONDecodeError:
        raise
    except RecursionError as error:
        raise DataError(f"{where}: lists and objects are nested too deeply to be read.") from error
    except ValueError as error:  # Python refuses to read numbers of more than 4300 digits
        raise DataError(f"{where}: there is a number with too many digits to be read.") from error
    if "\\ud" in text.lower() and not _whole_characters(value):
        raise DataError(f"{where}: '\\ud...' stands for half of a character; write the character itself in UTF-8.")
    return value


def _whole_characters(value: Any) -> bool:
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True
