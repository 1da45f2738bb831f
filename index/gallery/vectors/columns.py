"""Columns: one field of all faces in arrays, so that a filter over a million faces takes milliseconds.

Texts, truths and nothing are codes into a vocabulary; numbers stand beside them. Which faces pass a filter is what
``mien.index.gallery.filters.passes`` says of each, computed for all at once.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mien.index.gallery.filters import AllOf, AnyOf, Comparison, Filter, Not, OneOf, Operator, Scalar, compare, kind_of

Field = tuple[str, ...]

NOTHING: Final = 0
"""The code of a field that is not there, or null."""

_OTHER: Final = 1
_NUMBER: Final = 2
_FIRST: Final = 3

_TEXTS: Final = {str, type(None)}
_NUMBERS: Final = {int, float, type(None)}


class GrowingArray:
    """An array that is appended to; what was read out of it before stays as it was."""

    def __init__(self, values: NDArray[Any]) -> None:
        self._values = values
        self._count = len(values)

    def __len__(self) -> int:
        return self._count

    @property
    def values(self) -> NDArray[Any]:
        """All values: writing into them changes the array, until it grows."""
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
        """Hold ``values``, anything that ``mien.index.gallery.filters.value_of`` gives."""
        self._vocabulary: dict[tuple[str, Any], int] = {}
        self._codes = GrowingArray(np.empty(0, dtype=np.int32))
        self._numbers = GrowingArray(np.empty(0, dtype=np.float64))
        self.append(values)

    def __len__(self) -> int:
        return len(self._codes)

    @property
    def codes(self) -> NDArray[np.int32]:
        """(n,) equal for equal texts, ``NOTHING`` for nothing; all numbers share one."""
        return self._codes.values

    def append(self, values: Iterable[Any]) -> None:
        """Add the values of new faces."""
        added = list(values)
        kinds = set(map(type, added))
        # A million values one by one take seconds: those of one kind, as most fields are, go together.
        if kinds <= _TEXTS:
            codes = {value: self._code(value) for value in set(added)}
            self._numbers.append(np.full(len(added), np.nan))
            self._codes.append(np.fromiter(map(codes.__getitem__, added), np.int32, len(added)))
        elif kinds <= _NUMBERS:
            numbers = np.array(added, dtype=np.float64)  # of None, NaN
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
        """The column of other rows, in their order."""
        taken = Column()
        taken._vocabulary = dict(self._vocabulary)
        taken._codes = GrowingArray(self._codes.values[rows])
        taken._numbers = GrowingArray(self._numbers.values[rows])
        return taken

    def code_of(self, value: Any) -> int:
        """The code of a text; -1 if no face has it."""
        return self._vocabulary.get((kind_of(value), value), -1)

    def counts(self, among: NDArray[np.bool_]) -> dict[Any, int]:
        """How many of the faces ``among`` (n,) have each text; under None those with nothing."""
        counted = np.bincount(self.codes[: len(among)][among], minlength=_FIRST + len(self._vocabulary))
        named = {text: int(counted[code]) for (_, text), code in self._vocabulary.items() if counted[code]}
        return named | ({None: int(counted[NOTHING])} if counted[NOTHING] else {})

    def passing(self, operator: Operator, value: Scalar) -> NDArray[np.bool_]:
        """(n,) which faces compare true with ``value``."""
        kind = kind_of(value)
        codes = self.codes
        if kind == "null":
            return codes == NOTHING if operator == "eq" else np.zeros(len(codes), dtype=bool)
        if kind == "number":
            numbers = self._numbers.values[: len(codes)]
            how: dict[Operator, Any] = {
                "eq": np.equal,
                "lt": np.less,
                "lte": np.less_equal,
                "gt": np.greater,
                "gte": np.greater_equal,
            }
            return np.asarray(how[operator](numbers, _as_float(value)), dtype=bool)
        if operator == "eq":
            return np.asarray(codes == self.code_of(value))
        passing = np.zeros(_FIRST + len(self._vocabulary), dtype=bool)
        for (_, known), code in list(self._vocabulary.items()):
            passing[code : code + 1] = compare(known, operator, value)
        # A code that came while this was counted belongs to a face that came later.
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
        column: gives the column of a field, at least ``count`` long.
        count: how many faces there are.
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
    """The fields that a filter looks at."""
    match condition:
        case Comparison(field, _, _) | OneOf(field, _):
            return {field}
        case AllOf(parts) | AnyOf(parts):
            return {field for part in parts for field in fields_of(part)}
        case Not(part):
            return fields_of(part)


def _any_of(masks: list[NDArray[np.bool_]], count: int) -> NDArray[np.bool_]:
    passed = np.zeros(count, dtype=bool)
    for mask in masks:
        passed |= mask
    return passed


def nested(metadata: Any, path: Iterable[str]) -> Any:
    """What lies at a path in metadata; None where there is nothing."""
    found = metadata
    for key in path:
        if not isinstance(found, Mapping) or key not in found:
            return None
        found = found[key]
    return found


def _as_float(value: Any) -> float:
    return float(value)
