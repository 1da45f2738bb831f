"""Filters: a small language in JSON that says which faces of a gallery count.

    {"emotion": "happiness"}                                  a field equals
    {"metadata.camera": null}                                 a field is not there, or null
    {"time": {"gte": "2026-01-01", "lt": "2026-07-01"}}       a field lies in a range: lt, lte, gt, gte
    {"subject": {"in": ["anna", "ben"]}}                      a field is one of some values
    {"and": [F, ...]}  {"or": [F, ...]}  {"not": F}           conditions are put together
    {"label": "fear", "subject": "anna"}                      several fields in one object: all of them

Fields are id, emotion, sub_class, subject, label, time, and metadata.NAME; further dots go into objects within it.

A comparison of things of different kinds is false: 7 is neither equal to "7" nor smaller. Texts are compared by code
points, numbers as doubles; true and false are no numbers. ``time`` takes seconds since 1970 or an ISO 8601 date, with
or without time of day and zone (UTC without). ``not`` turns every answer around: ``{"not": {"label": "fear"}}`` lets
faces without a label pass.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Literal, Protocol, TypeAlias, get_args

from mien.index.errors import FilterError

Operator = Literal["eq", "lt", "lte", "gt", "gte"]
"""How a field is compared; ``eq`` is what a bare value means."""

Scalar: TypeAlias = str | int | float | bool | None

FIELDS: Final = ("id", "emotion", "sub_class", "subject", "label", "time")
"""Fields of a face; besides there is ``metadata`` with a path in it."""

MAX_DEPTH: Final = 16
"""Of conditions within one another."""

MAX_CONDITIONS: Final = 1000
"""Comparisons and values of ``in`` of a whole filter."""

MAX_FIELDS: Final = 32
"""Different fields of a whole filter: each is read of all faces, and kept in memory."""

_RANGES: Final = ("lt", "lte", "gt", "gte")


class Described(Protocol):
    """What a filter looks at."""

    @property
    def metadata(self) -> Mapping[str, Any]:
        """What the owner gave, JSON values."""


@dataclass(frozen=True)
class Comparison:
    """One field against one value.

    Attributes:
        field: (name,), or ``("metadata", key, ...)``.
        operator: how they are compared.
        value: with what; of ``time`` always seconds since 1970. Null only with ``eq``.
    """

    field: tuple[str, ...]
    operator: Operator
    value: Scalar


@dataclass(frozen=True)
class OneOf:
    """One field against several values: it equals one of them.

    Attributes:
        field: as in ``Comparison``.
        values: at least one.
    """

    field: tuple[str, ...]
    values: tuple[Scalar, ...]


@dataclass(frozen=True)
class AllOf:
    """All parts hold; true of none."""

    parts: tuple["Filter", ...]


@dataclass(frozen=True)
class AnyOf:
    """At least one part holds; false of none."""

    parts: tuple["Filter", ...]


@dataclass(frozen=True)
class Not:
    """The part does not hold."""

    part: "Filter"


Filter: TypeAlias = Comparison | OneOf | AllOf | AnyOf | Not


def parse_filter(value: Any) -> Filter:
    """Read a filter out of JSON values.

    Raises:
        FilterError: it is none; the message begins with the JSON path of what is wrong, such as ``$.and[1].time``.
    """
    parsed = _parse(value, "$", 1)
    count = sum(len(each.values) if isinstance(each, OneOf) else 1 for each in _leaves(parsed))
    if count > MAX_CONDITIONS:
        raise FilterError("$", f"a filter may have {MAX_CONDITIONS} values, got {count}")
    fields = {each.field for each in _leaves(parsed)}
    if len(fields) > MAX_FIELDS:
        raise FilterError("$", f"a filter may look at {MAX_FIELDS} fields, got {len(fields)}")
    return parsed


def passes(condition: Filter, face: Described) -> bool:
    """Whether a face passes a filter: the definition, one face at a time."""
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


def value_of(face: Described, field: tuple[str, ...]) -> Any:
    """What a field holds; None where there is nothing."""
    if field[0] != "metadata":
        return getattr(face, field[0])
    found: Any = face.metadata
    for key in field[1:]:
        if not isinstance(found, Mapping) or key not in found:
            return None
        found = found[key]
    return found


def compare(found: Any, operator: Operator, value: Scalar) -> bool:
    """One comparison; false of different kinds."""
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
    """``null``, ``truth``, ``number``, ``text`` or ``other``."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "truth"
    if isinstance(value, int | float):
        return "number"
    return "text" if isinstance(value, str) else "other"


def _parse(value: Any, where: str, depth: int) -> Filter:
    if not isinstance(value, Mapping):
        raise FilterError(where, f'expected an object such as {{"emotion": "happiness"}}, got {_named(value)}')
    if not value:
        raise FilterError(where, "expected at least one condition, got an empty object")
    if depth > MAX_DEPTH:
        raise FilterError(where, f"conditions may be {MAX_DEPTH} levels deep")
    parts = [part for key, inner in value.items() for part in _condition(key, inner, where, depth)]
    return parts[0] if len(parts) == 1 else AllOf(tuple(parts))


def _condition(key: Any, inner: Any, where: str, depth: int) -> Iterator[Filter]:
    place = f"{where}.{str(key)[:80]}"
    if key == "not":
        yield Not(_parse(inner, place, depth + 1))
    elif key in ("and", "or"):
        if not isinstance(inner, list) or not inner:
            raise FilterError(place, f"expected a list of at least one filter, got {_named(inner)}")
        parts = tuple(_parse(part, f"{place}[{row}]", depth + 1) for row, part in enumerate(inner))
        yield AllOf(parts) if key == "and" else AnyOf(parts)
    else:
        field = _field(key, place)
        if not isinstance(inner, Mapping):
            yield Comparison(field, "eq", _scalar(inner, field, place, null=True))
            return
        if not inner:
            raise FilterError(place, f"expected a value, or one of in, {', '.join(get_args(Operator))}, got {{}}")
        for operator, wanted in inner.items():
            yield _comparison(field, operator, wanted, f"{place}.{str(operator)[:80]}")


def _comparison(field: tuple[str, ...], operator: Any, wanted: Any, place: str) -> Filter:
    if operator == "in":
        if not isinstance(wanted, list) or not wanted:
            raise FilterError(place, f"expected a list of at least one value, got {_named(wanted)}")
        return OneOf(
            field, tuple(_scalar(each, field, f"{place}[{row}]", null=True) for row, each in enumerate(wanted))
        )
    if operator == "eq":
        return Comparison(field, "eq", _scalar(wanted, field, place, null=True))
    if operator not in _RANGES:
        raise FilterError(place, f"there is no such comparison; expected one of in, {', '.join(get_args(Operator))}")
    value = _scalar(wanted, field, place, null=False)
    if isinstance(value, bool):
        raise FilterError(place, f"true and false have no order, got {_named(wanted)}")
    return Comparison(field, operator, value)


def _field(key: Any, place: str) -> tuple[str, ...]:
    name, *path = str(key).split(".")
    if name == "metadata" and path and all(path):
        return (name, *path)
    if name in FIELDS and not path:
        return (name,)
    raise FilterError(
        place, f"there is no such field; expected one of {', '.join(FIELDS)}, metadata.NAME, and, or, not"
    )


def _scalar(value: Any, field: tuple[str, ...], place: str, *, null: bool) -> Scalar:
    kind = kind_of(value)
    if kind == "null" and null:
        return None
    if field == ("time",):
        return _seconds(value, place)
    if kind in ("other", "null") or (isinstance(value, float) and not math.isfinite(value)):
        raise FilterError(place, f"expected a text, a number, true or false, got {_named(value)}")
    if field[0] != "metadata" and kind != "text":
        raise FilterError(place, f"{field[0]} is a text, got {_named(value)}")
    return value  # type: ignore[no-any-return]


def _seconds(value: Any, place: str) -> float:
    try:
        return seconds_of(value)
    except ValueError as error:
        raise FilterError(place, str(error)) from None


def seconds_of(value: Any) -> float:
    """A time as seconds since 1970.

    Args:
        value: such seconds, or an ISO 8601 date with or without time of day and zone (UTC without).

    Raises:
        ValueError: it is neither.
    """
    if kind_of(value) == "number" and math.isfinite(value):
        return float(value)
    if isinstance(value, str):
        try:
            moment = datetime.fromisoformat(value)
            return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
        except (ValueError, OverflowError):
            pass
    raise ValueError(f"expected seconds since 1970 or an ISO 8601 date, got {_named(value)}")


def _leaves(condition: Filter) -> Iterator[Comparison | OneOf]:
    match condition:
        case AllOf(parts) | AnyOf(parts):
            for part in parts:
                yield from _leaves(part)
        case Not(part):
            yield from _leaves(part)
        case _:
            yield condition


def _named(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
