"""Checked settings: plain mappings in, frozen dataclasses out, errors that name key, file and nearest name."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, TypeVar, cast, dataclass_transform, get_args, get_origin, get_type_hints

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass as pydantic_dataclass
from pydantic_core import PydanticCustomError, to_json

from compressor.errors import RequestError, UnknownNameError

T = TypeVar("T")

LARGEST = 2**31 - 1
"""Whole numbers end here: those that they are handed to have 32 bits."""


def _file_name(name: str) -> str:
    plain = name.isprintable() and name.strip() == name and not set(name) & set("/\\") and len(name.encode()) <= 100
    if not plain or not name or name.startswith("."):
        raise PydanticCustomError(
            "file_name", "a folder is named after it, so give a plain name without slashes or a dot in front"
        )
    return name


def _column(value: Any) -> Any:
    if isinstance(value, str):
        return value
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise PydanticCustomError("column", "give the name of a column, or its number from 0")
    return str(value)


Ratio = Annotated[float, Field(gt=0, le=1)]
"""A fraction in (0, 1]."""
Probability = Annotated[float, Field(ge=0, le=1)]
"""A fraction in [0, 1]."""
Positive = Annotated[float, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0)]
Count = Annotated[int, Field(ge=1, le=LARGEST)]
"""A whole number of at least one."""
Whole = Annotated[int, Field(ge=0, le=LARGEST)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
"""What numpy and PyTorch both take as a seed."""
FileName = Annotated[str, AfterValidator(_file_name)]
"""A name that a folder can have, and that does not lead out of the folder it is in."""
Version = Annotated[str, Field(pattern=r"^\d+\.\d+(\.\d+)?$")]
"""Numbers with dots, such as 1.22 or 1.22.0."""
Column = Annotated[str, BeforeValidator(_column)]
"""A column by its name, or by its number from 0 (as text)."""


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(dataclasses.field,))
def settings(cls: type[T]) -> type[T]:
    """Class decorator: a frozen, keyword-only dataclass whose fields are type-checked strictly; numbers are finite."""
    make = cast(
        Callable[[type[T]], type[T]],
        pydantic_dataclass(
            frozen=True, kw_only=True, config=ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)
        ),
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
        first, path, reason = _first_error(cls, error)
        if first["type"] == "unexpected_keyword_argument":
            _refuse_unknown(_class_at(cls, path[:-1]), [path[-1]], ".".join(map(str, [where, *path[:-1]])))
        key = ".".join(map(str, path))
        given = "" if first["type"] == "missing" else f" = {first['input']!r}"
        raise RequestError(f"{where}: '{key}'{given} is not possible: {reason}.") from error


def _refuse_unknown(cls: Any, keys: Sequence[Any], where: str) -> None:
    known = [field.name for field in dataclasses.fields(cls)]
    for key in keys:
        if key not in known:
            raise UnknownNameError("key", str(key), known, where)


def _first_error(cls: Any, error: ValidationError) -> tuple[Any, tuple[int | str, ...], str]:
    """The error to show, where it is, and why. Of a setting with several types, each type gives an error."""
    found = [(entry, _without_types(cls, entry["loc"])) for entry in error.errors()]
    same_key = [pair for pair in found if pair[1][:1] == found[0][1][:1]]
    first, path = max(same_key, key=lambda pair: (pair[0]["type"] == "unexpected_keyword_argument", len(pair[1])))
    reasons = dict.fromkeys(entry["msg"] for entry, place in same_key if place == path)
    return first, path, " or ".join(reasons).replace(" or Input should be ", " or ")


def _without_types(cls: Any, path: Sequence[int | str]) -> tuple[int | str, ...]:
    """A pydantic location without the steps that only name one type of several."""
    kept: list[int | str] = []
    for step in path:
        cls = _settings_of(cls)
        if dataclasses.is_dataclass(cls):
            kept.append(step)
            cls = get_type_hints(cls).get(str(step))
        elif get_origin(cls) in (list, dict):
            kept.append(step)
            cls = get_args(cls)[-1]
        else:
            cls = next((option for option in get_args(cls) if get_origin(option) in (list, dict)), None)
    return tuple(kept)


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


def given(values: Any, names: Sequence[str] | None = None) -> list[str]:
    """Which settings of a settings object are others than their defaults, in order; `names`: of these alone."""
    found = []
    for field in dataclasses.fields(values):
        factory = field.default_factory
        default = field.default if factory is dataclasses.MISSING else factory()
        if (names is None or field.name in names) and getattr(values, field.name) != default:
            found.append(field.name)
    return found


def to_mapping(value: Any) -> dict[str, Any]:
    """Turn a settings object back into plain dictionaries and lists (for keys, manifests and printing)."""
    return dataclasses.asdict(value)
