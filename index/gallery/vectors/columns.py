"""Columns: one field of all faces in arrays, so that a filter over a million faces takes milliseconds.

Texts, booleans and nulls are codes into a vocabulary; numbers have an array of their own. A mask says of all faces at
once what ``mien.index.gallery.filters.passes`` says of each.
"""

from collections.abc import Callable, Collection, Iterable
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mien.index.gallery.filters import (
    AllOf,
    AnyOf,
    Comparison,
    Filter,
    Not,
    OneOf,
    Operator,
    Scalar,
    compare,
    kind_of,
    leaves,
)

Field = tuple[str, ...]

NOTHING: Final = 0
"""The code of a field that is missing or null."""

COMPARISONS_PER_READ: Final = 50
"""A column is compared with so many values in the time that reading its field from a database takes."""

_OTHER: Final = 1
_NUMBER: Final = 2
_FIRST: Final = 3

_TEXTS: Final = {str, type(None)}
_NUMBERS: Final = {int, float, type(None)}


class GrowingArray:
    """An array that grows at its end; values that were read before stay as they were."""

    def __init__(self, values: NDArray[Any]) -> None:
        self._values = values
        self._count = len(values)

    def __len__(self) -> int:
        return self._count

    @property
    def values(self) -> NDArray[Any]:
        """All values; writing into them changes the array, until it grows."""
        return self._values[: self._count]

    def append(self, values: NDArray[Any]) -> None:
        """Add values at the end."""
        count = self._count + len(values)
        if count > len(self._values):
            grown = np.empty((max(count, 2 * len(self._values), 1024), *self._values.shape[1:]), self._values.dtype)
            grown[: self._count] = self.values
            self._values = grown
        self._values[self._count : count] = values
        self._count = count


class Column:
    """One field of n faces, in their order."""

    def __init__(self, values: Iterable[Any] = ()) -> None:
        """Start with ``values``, as ``mien.index.gallery.filters.value_of`` returns them."""
        self._vocabulary: dict[tuple[str, Any], int] = {}
        self._codes = GrowingArray(np.empty(0, dtype=np.int32))
        self._numbers = GrowingArray(np.empty(0, dtype=np.float64))
        self.append(values)

    def __len__(self) -> int:
        return len(self._codes)

    @property
    def codes(self) -> NDArray[np.int32]:
        """(n,) equal for equal texts, ``NOTHING`` for null; all numbers share one."""
        return self._codes.values

    def append(self, values: Iterable[Any]) -> None:
        """Add the values of new faces."""
        added = list(values)
        kinds = set(map(type, added))
        # A million values one by one take seconds: values of one kind, which most fields have, go together.
        if kinds <= _TEXTS:
            codes = {value: self._code(value) for value in set(added)}
            self._numbers.append(np.full(len(added), np.nan))
            self._codes.append(np.fromiter(map(codes.__getitem__, added), np.int32, len(added)))
        elif kinds <= _NUMBERS:
            numbers = np.array(added, dtype=np.float64)  # None becomes NaN
            self._numbers.append(numbers)
            self._codes.append(np.where(np.isnan(numbers), NOTHING, _NUMBER).astype(np.int32))
        else:
            numbers = np.array([value if kind_of(value) == "number" else np.nan for value in added], dtype=np.float64)
            self._numbers.append(numbers)
            self._codes.append(np.array([self._code(value) for value in added], dtype=np.int32))

    def set(self, row: int, value: Any) -> None:
        """Change the value of one face."""
        self._numbers.values[row] = value if kind_of(value) == "number" else np.nan
        self._codes.values[row] = self._code(value)

    def take(self, rows: NDArray[np.integer]) -> "Column":
        """A column of some rows, in their order."""
        column = Column()
        column._vocabulary = dict(self._vocabulary)
        column._codes = GrowingArray(self._codes.values[rows])
        column._numbers = GrowingArray(self._numbers.values[rows])
        return column

    def code_of(self, value: Any) -> int:
        """The code of a text; -1 if no face has it."""
        return self._vocabulary.get((kind_of(value), value), -1)

    def counts(self, among: NDArray[np.bool_]) -> dict[Any, int]:
        """How many of the faces ``among`` (n,) have each text; None counts those with null."""
        totals = np.bincount(self.codes[: len(among)][among], minlength=_FIRST + len(self._vocabulary))
        counts: dict[Any, int] = {text: int(totals[code]) for (_, text), code in self._vocabulary.items()}
        counts[None] = int(totals[NOTHING])
        return {text: count for text, count in counts.items() if count}

    def passing(self, operator: Operator, value: Scalar) -> NDArray[np.bool_]:
        """(n,) which faces compare true with ``value``."""
        kind = kind_of(value)
        codes = self.codes
        if kind == "null":
            return codes == NOTHING if operator == "eq" else np.zeros(len(codes), dtype=bool)
        if kind == "number":
            numbers = self._numbers.values[: len(codes)]
            compare_numbers: dict[Operator, Any] = {
                "eq": np.equal,
                "lt": np.less,
                "lte": np.less_equal,
                "gt": np.greater,
                "gte": np.greater_equal,
            }
            return np.asarray(compare_numbers[operator](numbers, float(value)), dtype=bool)  # type: ignore[arg-type]
        if operator == "eq":
            return np.asarray(codes == self.code_of(value))
        passing = np.zeros(_FIRST + len(self._vocabulary), dtype=bool)
        for (_, known), code in list(self._vocabulary.items()):
            passing[code : code + 1] = compare(known, operator, value)
        # A code that was added meanwhile belongs to a face that was added later.
        return passing[np.minimum(codes, len(passing) - 1)]

    def _code(self, value: Any) -> int:
        kind = kind_of(value)
        if kind == "null":
            return NOTHING
        if kind == "other":
            return _OTHER
        if kind == "number":
            return _NUMBER
        return self._vocabulary.setdefault((kind, value), _FIRST + len(self._vocabulary))


def mask_of(condition: Filter, column: Callable[[Field], Column], count: int) -> NDArray[np.bool_]:
    """(count,) which of the first ``count`` faces pass a filter.

    Args:
        condition: the filter.
        column: returns the column of a field, at least ``count`` long.
        count: of faces.
    """
    match condition:
        case Comparison(field, operator, value):
            return column(field).passing(operator, value)[:count]
        case OneOf(field, values):
            return _any_of([column(field).passing("eq", value)[:count] for value in values], count)
        case AllOf(parts):
            passed = np.ones(count, dtype=bool)
            for part in parts:
                passed &= mask_of(part, column, count)
            return passed
        case AnyOf(parts):
            return _any_of([mask_of(part, column, count) for part in parts], count)
        case Not(part):
            return ~mask_of(part, column, count)


def fields_of(condition: Filter) -> set[Field]:
    """The fields that a filter reads."""
    match condition:
        case Comparison(field, _, _) | OneOf(field, _):
            return {field}
        case AllOf(parts) | AnyOf(parts):
            return {field for part in parts for field in fields_of(part)}
        case Not(part):
            return fields_of(part)


def values_read(condition: Filter, in_memory: Collection[Field], count: int) -> int:
    """About how many values of ``count`` faces a filter reads: fields that are not in memory, and many comparisons."""
    compared = list(leaves(condition))
    comparisons = sum(len(each.values) if isinstance(each, OneOf) else 1 for each in compared)
    unread = {each.field for each in compared if each.field not in in_memory}
    return count * (len(unread) + comparisons // COMPARISONS_PER_READ)


def _any_of(masks: list[NDArray[np.bool_]], count: int) -> NDArray[np.bool_]:
    passed = np.zeros(count, dtype=bool)
    for mask in masks:
        passed |= mask
    return passed
