"""Filters as Milvus expressions.

The two languages differ in places, and faces are stored so that this does not matter:

- A text field that a face lacks is stored as an empty text, which no face can have.
- Filters read a copy of the metadata (``searched_metadata``): without nulls, so that a field is null exactly where it
  does not exist for Milvus, and with empty lists, because Milvus would take a key for a position in a list.
- Keys are percent-encoded, so that no character of a key has a meaning for Milvus.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final
from urllib.parse import quote

from mien.index.errors import FilterError
from mien.index.gallery.filters import AllOf, AnyOf, Comparison, Filter, Not, OneOf, Operator, Scalar, kind_of
from mien.index.gallery.store import SearchOptions

EVERY_FACE: Final = '(id != "")'
"""True of every face; Milvus does not take an empty filter everywhere."""

NO_FACE: Final = '(id == "")'

WITH_THUMBNAIL: Final = '(thumbnail_1 != "")'

_LARGEST_INTEGER: Final = 2**63 - 1
"""The largest integer that Milvus reads."""

_SIGNS: Final[dict[Operator, str]] = {"eq": "==", "lt": "<", "lte": "<=", "gt": ">", "gte": ">="}


def expression(condition: Filter) -> str:
    """A filter as a Milvus expression.

    Raises:
        FilterError: it has half of a character (a lone surrogate).
    """
    match condition:
        case Comparison(field, operator, value):
            return _comparison(field, operator, value)
        case OneOf(field, values):
            return _one_of(field, values)
        case AllOf(parts):
            return _join("and", [expression(part) for part in parts], EVERY_FACE)
        case AnyOf(parts):
            return _join("or", [expression(part) for part in parts], NO_FACE)
        case Not(part):
            return f"(not {expression(part)})"


def from_options(options: SearchOptions) -> str:
    """The options of a search that the server evaluates, as an expression; empty without any."""
    parts = [] if options.filter is None else [expression(options.filter)]
    for field, excluded in (
        ("subject", options.exclude_subjects),
        ("id", options.exclude_ids),
        ("content_sha256", options.exclude_content),
    ):
        if excluded:
            parts.append(f"({field} not in {_texts(sorted(excluded))})")
    if options.snapshot is not None:
        parts.append(f"({by_snapshot(options.snapshot)})")
    return _join("and", parts, "")


def by_snapshot(snapshot: int) -> str:
    """Faces that were in the gallery at a snapshot number."""
    return f"sequence <= {min(snapshot, _LARGEST_INTEGER)}"


def with_ids(ids: Iterable[str]) -> str:
    """Faces with some ids."""
    return f"id in {_texts(ids)}"


def without_subjects(subjects: Sequence[str]) -> str:
    """Faces that have none of some subjects; empty without any."""
    return f"(subject not in {_texts(subjects)})" if subjects else ""


def every(*parts: str) -> str:
    """All of some expressions, of which empty ones are skipped; never empty."""
    return _join("and", [part for part in parts if part], EVERY_FACE)


def text(value: str) -> str:
    """A text as a literal.

    Raises:
        FilterError: it has half of a character.
    """
    try:
        value.encode()
    except UnicodeEncodeError:
        raise FilterError("$", f"{value[:60]!r} has half of a character (a lone surrogate)") from None
    return json.dumps(value, ensure_ascii=False)


def searched_metadata(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """The copy of metadata that filters read."""
    return {quote(key, safe=""): _without_lists(value) for key, value in metadata.items() if value is not None}


def _without_lists(value: Any) -> Any:
    if isinstance(value, Mapping):
        return searched_metadata(value)
    return [] if isinstance(value, list | tuple) else value


def _comparison(field: tuple[str, ...], operator: Operator, value: Scalar) -> str:
    if value is None:
        return _missing(field)
    if field[0] == "metadata":
        return _metadata(_path(field), operator, value)
    if field == ("has_thumbnail",):
        return WITH_THUMBNAIL if value else f"(not {WITH_THUMBNAIL})"
    if field == ("time",):
        return f"(time {_SIGNS[operator]} {float(value)!r})"
    if operator == "eq" and value == "":
        return NO_FACE
    compared = f"({field[0]} {_SIGNS[operator]} {text(str(value))})"
    # A missing text is smaller than every other, but in no range.
    return f'({field[0]} != "" and {compared})' if operator in ("lt", "lte", "gte") else compared


def _metadata(path: str, operator: Operator, value: str | float) -> str:
    if isinstance(value, str):
        return f"({path} {_SIGNS[operator]} {text(value)})"
    if isinstance(value, bool):
        return f"({path} == {'true' if value else 'false'})"
    # With a decimal point, it is compared as a double, with integers too.
    return f"({path} {_SIGNS[operator]} {float(value)!r})"


def _one_of(field: tuple[str, ...], values: Sequence[Scalar]) -> str:
    texts = [value for value in values if isinstance(value, str) and (value or field[0] == "metadata")]
    others = [value for value in values if not isinstance(value, str)]
    name = _path(field) if field[0] == "metadata" else field[0]
    parts = [_comparison(field, "eq", value) for value in others if kind_of(value) != "other"]
    if texts:
        parts.append(f"({name} in {_texts(texts)})")
    return _join("or", parts, NO_FACE)


def _missing(field: tuple[str, ...]) -> str:
    if field[0] == "metadata":
        return f"(not (exists {_path(field)}))"
    if field in (("id",), ("time",)):
        return NO_FACE
    return f'({field[0]} == "")'


def _path(field: tuple[str, ...]) -> str:
    return "searched" + "".join(f"[{json.dumps(quote(key, safe=''))}]" for key in field[1:])


def _texts(values: Iterable[str]) -> str:
    return f"[{', '.join(text(value) for value in values)}]"


def _join(word: str, parts: Sequence[str], default: str) -> str:
    if not parts:
        return default
    return parts[0] if len(parts) == 1 else f"({f' {word} '.join(parts)})"
