"""Checked settings: plain mappings in, frozen dataclasses out, errors that name key, file and nearest name."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, TypeVar, cast, dataclass_transform, get_args, get_type_hints

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass as pydantic_dataclass
from pydantic_core import to_json

from compressor.errors import RequestError, UnknownNameError

T = TypeVar("T")

Ratio = Annotated[float, Field(gt=0, le=1)]
"""A fraction in (0, 1]."""
Probability = Annotated[float, Field(ge=0, le=1)]
"""A fraction in [0, 1]."""
Positive = Annotated[float, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0)]
Count = Annotated[int, Field(ge=1)]
"""A whole number of at least one."""
Whole = Annotated[int, Field(ge=0)]


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(dataclasses.field,))
def settings(cls: type[T]) -> type[T]:
    """Class decorator: a frozen, keyword-only dataclass whose fields are type-checked strictly."""
    make = cast(
        Callable[[type[T]], type[T]],
        pydantic_dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid", strict=True)),
    )
    return make(cls)


def parse(cls: type[T], values: Mapping[str, Any], *, where: str) -> T:
    """Build `cls` from a mapping; `where` names key path and file in errors.

    Raises `UnknownNameError` for a key that does not exist (with the nearest one) and
    `RequestError` for a missing key, a wrong type or a value out of range.
    """
    _refuse_unknown(cls, list(values), where)
    try:
        # Strict JSON mode: no text is taken for a number, yet mappings become nested dataclasses.
        return TypeAdapter(cls).validate_json(to_json(dict(values)), strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        path = first["loc"]
        if first["type"] == "unexpected_keyword_argument":
            _refuse_unknown(_class_at(cls, path[:-1]), [path[-1]], ".".join(map(str, [where, *path[:-1]])))
        key = ".".join(map(str, path))
        given = "" if first["type"] == "missing" else f" = {first['input']!r}"
        raise RequestError(f"{where}: '{key}'{given} is not possible: {first['msg']}.") from error


def _refuse_unknown(cls: Any, keys: Sequence[Any], where: str) -> None:
    known = [field.name for field in dataclasses.fields(cls)]
    for key in keys:
        if key not in known:
            raise UnknownNameError("key", str(key), known, where)


def _class_at(cls: Any, path: Sequence[int | str]) -> Any:
    """The settings class that stands at `path` inside `cls`; a list or mapping step takes its item type."""
    for step in path:
        owner = _settings_of(cls)
        cls = get_type_hints(owner)[str(step)] if dataclasses.is_dataclass(owner) else get_args(owner)[-1]
    return _settings_of(cls)


def _settings_of(annotation: Any) -> Any:
    """`X` of `X | None`; anything else unchanged."""
    options = [option for option in get_args(annotation) if option is not type(None)]
    return options[0] if type(None) in get_args(annotation) and len(options) == 1 else annotation


def to_mapping(value: Any) -> dict[str, Any]:
    """Turn a settings object back into plain dictionaries and lists (for keys, manifests and printing)."""
    return dataclasses.asdict(value)
