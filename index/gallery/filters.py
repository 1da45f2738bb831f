"""Filters: a small language in JSON that selects faces of a gallery.

    {"emotion": "happiness"}                                  a field equals a value
    {"metadata.camera": null}                                 a field is missing or null
    {"time": {"gte": "2026-01-01", "lt": "2026-07-01"}}       a field lies in a range: lt, lte, gt, gte
    {"subject": {"in": ["anna", "ben"]}}                      a field equals one of several values
    {"and": [F, ...]}  {"or": [F, ...]}  {"not": F}           conditions are combined
    {"label": "fear", "subject": "anna"}                      several fields in one object: all must match

Fields are id, emotion, sub_class, subject, label, time, has_thumbnail, and metadata.NAME; further dots go into nested
objects. ``label`` is the owner's name of the emotion, ``emotion`` and ``sub_class`` are the mixture's.

A comparison of different kinds is false: 7 is neither equal to "7" nor smaller. Texts are compared by code points,
numbers as doubles; true and false are not numbers. ``time`` takes seconds since 1970 or an ISO 8601 date, with or
without time of day and zone (UTC without). ``not`` inverts: ``{"not": {"label": "fear"}}`` passes faces without a
label.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Literal, TypeAlias, get_args

from mien.index.errors import FilterError
from mien.index.gallery.face import GalleryFace
from mien.index.gallery.validation import excerpt, has_half_character, is_finite

Operator = Literal["eq", "lt", "lte", "gt", "gte"]
"""How a field is compared; a bare value means ``eq``."""

Scalar: TypeAlias = str | int | float | bool | None

FIELDS: Final = ("id", "emotion", "sub_class", "subject", "label", "time", "has_thumbnail")
"""Fields of a face, beside ``metadata`` with a path in it."""

MAX_DEPTH: Final = 16
"""Levels of nested conditions."""

MAX_CONDITIONS: Final = 1000
"""Comparisons, and values of ``in``, of a whole filter."""

MAX_FIELDS: Final = 32
"""Distinct fields of a whole filter: each is read of all faces and kept in memory."""

_RANGES: Final = ("lt", "lte", "gt", "gte")


@dataclass(frozen=True)
class Comparison:
    """A field is compared with a value.

    Attributes:
        field: (name,), or ``("metadata", key, ...)``.
        operator: how they are compared.
        value: to compare with; for ``time`` seconds since 1970. Null only with ``eq``.
    """

    field: tuple[str, ...]
    operator: Operator
    value: Scalar


@dataclass(frozen=True)
class OneOf:
    """A field equals one of several values.

    Attributes:
        field: as in ``Comparison``.
        values: at least one.
    """

    field: tuple[str, ...]
    values: tuple[Scalar, ...]


@dataclass(frozen=True)
class AllOf:
    """All parts hold; true without parts."""

    parts: tuple["Filter", ...]


@dataclass(frozen=True)
class AnyOf:
    """At least one part holds; false without parts."""

    parts: tuple["Filter", ...]


@dataclass(frozen=True)
class Not:
    """The part does not hold."""

    part: "Filter"


Filter: TypeAlias = Comparison | OneOf | AllOf | AnyOf | Not


def parse_filter(value: Any) -> Filter:
    """Read a filter from JSON values.

    Raises:
        FilterError: it is invalid; the message begins with the JSON path of the fault, such as ``$.and[1].time``.
    """
    parsed = _parse(value, "$", 1, iter(range(MAX_CONDITIONS)))
    fields = {each.field for each in leaves(parsed)}
    if len(fields) > MAX_FIELDS:
        raise FilterError("$", f"a filter must use at most {MAX_FIELDS} fields, got {len(fields)}")
    return parsed


def passes(condition: Filter, face: GalleryFace) -> bool:
    """Whether a face passes a filter. This defines the language; indexes answer it for all faces at once."""
    match condition:
        case Comparison(field, operator, value):
            return compare(value_of(face, field), operator, value)
        case OneOf(field, values):
            found = value_of(face, field)
            return any(compare(found, "eq", value) for value in values)
        case AllOf(parts):
            return all(passes(part, face) for part in parts)
        case AnyOf(parts):
            return any(passes(part, face) for part in parts)
        case Not(part):
            return not passes(part, face)


def value_of(face: GalleryFace, field: tuple[str, ...]) -> Any:
    """The value of a field; None if it is missing."""
    return value_at(face.metadata, field[1:]) if field[0] == "metadata" else getattr(face, field[0])


def value_at(metadata: Any, path: Iterable[str]) -> Any:
    """The value at a path in metadata; None if it is missing."""
    value = metadata
    for key in path:
        if not isinstance(value, Mapping) or key not in value:
            return None
        value = value[key]
    return value


def compare(found: Any, operator: Operator, value: Scalar) -> bool:
    """Compare a value of a face with one of a filter; false if they are of different kinds."""
    if kind_of(found) != kind_of(value):
        return False
    if kind_of(value) == "number":
        found, value = float(found), float(value)  # type: ignore[arg-type]
    if operator == "eq":
        return bool(found == value)
    if kind_of(value) not in ("number", "text"):
        return False
    comparisons = {"lt": found < value, "lte": found <= value, "gt": found > value, "gte": found >= value}
    return bool(comparisons[operator])


def kind_of(value: Any) -> str:
    """The kind of a JSON value: ``null``, ``boolean``, ``number``, ``text`` or ``other``."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int | float):
        return "number"
    return "text" if isinstance(value, str) else "other"


def _parse(value: Any, where: str, depth: int, left: Iterator[int]) -> Filter:
    """Read a part of a filter; each comparison, and each value of an ``in``, takes one of what is ``left``."""
    if not isinstance(value, Mapping):
        raise FilterError(where, f'expected an object such as {{"emotion": "happiness"}}, got {excerpt(value)}')
    if not value:
        raise FilterError(where, "expected at least one condition, got an empty object")
    if depth > MAX_DEPTH:
        raise FilterError(where, f"conditions must be at most {MAX_DEPTH} levels deep")
    parts = [part for key, inner in value.items() for part in _condition(key, inner, where, depth, left)]
    return parts[0] if len(parts) == 1 else AllOf(tuple(parts))


def _condition(key: Any, inner: Any, where: str, depth: int, left: Iterator[int]) -> Iterator[Filter]:
    place = f"{where}.{str(key)[:80]}"
    if key == "not":
        yield Not(_parse(inner, place, depth + 1, left))
    elif key in ("and", "or"):
        if not isinstance(inner, list) or not inner:
            raise FilterError(place, f"expected a list of at least one filter, got {excerpt(inner)}")
        parts = tuple(_parse(part, f"{place}[{row}]", depth + 1, left) for row, part in enumerate(inner))
        yield AllOf(parts) if key == "and" else AnyOf(parts)
    else:
        field = _field(key, place)
        if not isinstance(inner, Mapping):
            yield Comparison(field, "eq", _scalar(inner, field, place, left, null=True))
            return
        if not inner:
            raise FilterError(place, f"expected a value, or one of in, {', '.join(get_args(Operator))}, got {{}}")
        for operator, wanted in inner.items():
            yield _comparison(field, operator, wanted, f"{place}.{str(operator)[:80]}", left)


def _comparison(field: tuple[str, ...], operator: Any, wanted: Any, place: str, left: Iterator[int]) -> Filter:
    if operator == "in":
        if not isinstance(wanted, list) or not wanted:
            raise FilterError(place, f"expected a list of at least one value, got {excerpt(wanted)}")
        return OneOf(
            field, tuple(_scalar(each, field, f"{place}[{row}]", left, null=True) for row, each in enumerate(wanted))
        )
    if operator == "eq":
        return Comparison(field, "eq", _scalar(wanted, field, place, left, null=True))
    if operator not in _RANGES:
        raise FilterError(place, f"unknown comparison; expected one of in, {', '.join(get_args(Operator))}")
    value = _scalar(wanted, field, place, left, null=False)
    if isinstance(value, bool):
        raise FilterError(place, f"true and false cannot be ordered, got {excerpt(wanted)}")
    return Comparison(field, operator, value)


def _field(key: Any, place: str) -> tuple[str, ...]:
    name, *path = str(key).split(".")
    if name == "metadata" and path and all(path):
        return (name, *path)
    if name in FIELDS and not path:
        return (name,)
    raise FilterError(place, f"unknown field; expected one of {', '.join(FIELDS)}, metadata.NAME, and, or, not")


def _scalar(value: Any, field: tuple[str, ...], place: str, left: Iterator[int], *, null: bool) -> Scalar:
    if next(left, None) is None:
        raise FilterError("$", f"a filter must have at most {MAX_CONDITIONS} values, got more")
    kind = kind_of(value)
    if field == ("has_thumbnail",):
        if not isinstance(value, bool):
            raise FilterError(place, f"has_thumbnail must be true or false, got {excerpt(value)}")
        return value
    if kind == "null" and null:
        return None
    if field == ("time",):
        try:
            return seconds_of(value)
        except ValueError as error:
            raise FilterError(place, str(error)) from None
    if kind in ("other", "null") or (kind == "number" and not is_finite(value)):
        raise FilterError(place, f"expected a text, a number, true or false, got {excerpt(value)}")
    if field[0] != "metadata" and kind != "text":
        raise FilterError(place, f"{field[0]} must be a text, got {excerpt(value)}")
    if kind == "text" and not value.isascii() and has_half_character(value):
        raise FilterError(place, "a text has half of a character (a lone surrogate)")
    return value  # type: ignore[no-any-return]


def seconds_of(value: Any) -> float:
    """A time as seconds since 1970.

    Args:
        value: seconds since 1970, or an ISO 8601 date with or without time of day and zone (UTC without).

    Raises:
        ValueError: it is neither.
    """
    if kind_of(value) == "number" and is_finite(value):
        return float(value)
    if isinstance(value, str):
        try:
            moment = datetime.fromisoformat(value)
            return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
        except (ValueError, OverflowError):
            pass
    raise ValueError(f"expected seconds since 1970 or an ISO 8601 date, got {excerpt(value)}")


def leaves(condition: Filter) -> Iterator[Comparison | OneOf]:
    """The comparisons of a filter."""
    match condition:
        case AllOf(parts) | AnyOf(parts):
            for part in parts:
                yield from leaves(part)
        case Not(part):
            yield from leaves(part)
        case _:
            yield condition
