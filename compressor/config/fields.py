"""What a settings dataclass can be told: each setting with its type, its default and the comment beside it."""

from __future__ import annotations

import ast
import dataclasses
import io
import json
import re
import sys
import tokenize
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

from pydantic.fields import FieldInfo

from compressor.config.schema import LARGEST

_NAMES = {float: "number", int: "whole number", str: "text", bool: "true | false", NoneType: "null", dict: "mapping"}
_BOUNDS = {"gt": "above", "ge": "at least", "lt": "below", "le": "at most"}
_NESTED = re.compile(r"`(\w+Settings)`")
"""How a comment names the settings that a mapping holds."""


@dataclass(frozen=True)
class SettingLine:
    """One setting as a reader of the YAML sees it."""

    name: str  # `student.layers` for a setting inside a mapping
    kind: str
    default: str
    comment: str


def setting_lines(cls: type, prefix: str = "") -> Iterator[SettingLine]:
    """Every setting of a class decorated with `settings`: its own first, those that it inherits behind them."""
    hints = get_type_hints(cls, include_extras=True)
    defaults = {field.name: field for field in dataclasses.fields(cls)}
    comments: dict[str, str] = {}
    for owner in cls.__mro__:
        if dataclasses.is_dataclass(owner):
            for name, comment in _commented(owner):
                comments[name] = comments.get(name) or comment
    for name, comment in comments.items():
        yield SettingLine(prefix + name, type_text(hints[name]), _default(defaults[name]), comment)
        nested = _NESTED.search(comment)
        inner = getattr(sys.modules[cls.__module__], nested[1], None) if nested else None
        if inner is not None:
            yield from setting_lines(inner, f"{prefix}{name}.")


def type_text(kind: Any) -> str:
    """A type in words: `number above 0 | null`, `auto | on | off`, `list of (text)`."""
    origin, inner = get_origin(kind), get_args(kind)
    if origin is Literal:
        return " | ".join(map(str, inner))
    if origin is Annotated:
        limits = [limit for extra in inner[1:] for limit in _limits(extra)]
        return " ".join([type_text(inner[0]), ", ".join(limits)]).strip()
    if origin is list:
        return f"list of ({type_text(inner[0])})"
    if origin is dict:
        return "mapping"
    if inner:  # a union
        return " | ".join(map(type_text, inner))
    return _NAMES.get(kind, getattr(kind, "__name__", str(kind)))


def value_text(value: Any) -> str:
    """A value as YAML has it."""
    return value if isinstance(value, str) else json.dumps(value)


def _limits(extra: Any) -> Iterator[str]:
    for limit in extra.metadata if isinstance(extra, FieldInfo) else ():
        for key, word in _BOUNDS.items():
            if getattr(limit, key, LARGEST) != LARGEST:
                yield f"{word} {getattr(limit, key):g}"


def _default(field: dataclasses.Field[Any]) -> str:
    if field.default is not dataclasses.MISSING:
        return value_text(field.default)
    return "" if field.default_factory is dataclasses.MISSING else value_text(field.default_factory())


def _commented(cls: type) -> Iterator[tuple[str, str]]:
    """The fields that a class body declares, with the comments that stand on their lines."""
    text = Path(str(sys.modules[cls.__module__].__file__)).read_text(encoding="utf-8")
    found = [token for token in tokenize.generate_tokens(io.StringIO(text).readline) if token.type == tokenize.COMMENT]
    for node in ast.parse(text).body:
        if isinstance(node, ast.ClassDef) and node.name == cls.__name__:
            for line in node.body:
                if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name):
                    yield line.target.id, _beside(line, found)


def _beside(node: ast.AnnAssign, comments: Sequence[tokenize.TokenInfo]) -> str:
    inside = range(node.lineno, (node.end_lineno or node.lineno) + 1)
    text = " ".join(token.string.lstrip("# ") for token in comments if token.start[0] in inside)
    return re.sub(r"\bNone\b", "null", text)  # as YAML calls it
