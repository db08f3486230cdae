"""Checked settings: plain mappings in, frozen dataclasses out, errors that name key, file and nearest name."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Annotated, Any, TypeVar, cast, dataclass_transform

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass as pydantic_dataclass

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
    known = [field.name for field in dataclasses.fields(cls)]  # type: ignore[arg-type]
    for key in values:
        if key not in known:
            raise UnknownNameError("key", str(key), known, where)
    try:
        return TypeAdapter(cls).validate_python(dict(values))
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise RequestError(f"{where}: '{key}' = {first['input']!r} is not possible: {first['msg']}.") from error


def to_mapping(value: Any) -> dict[str, Any]:
    """Turn a settings object back into plain dictionaries and lists (for keys, manifests and printing)."""
    return dataclasses.asdict(value)
