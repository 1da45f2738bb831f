"""JSON from outside: one parser, with limits, for bodies, fields of forms, filters and the cursors of pages.

What a text would become is counted before anything is built: a text of some megabytes can become a gigabyte of objects.
Then Python's own ``json`` reads it, which lets each object and number be looked at: of two equal keys none is right,
and a number that is too large for a double is not infinity.
"""

import base64
import json
import math
import re
from typing import Any, Final, NoReturn

import numpy as np

from mien.index.errors import QueryError

MAX_VALUES: Final = 1_000_000
"""Values of a text: more than 10,000 faces with embeddings have."""

MAX_CONTAINERS: Final = 100_000
"""Objects and lists of a text."""

MAX_KEYS: Final = 200_000
"""Keys of all objects of a text."""

MAX_OBJECT_KEYS: Final = 4096
"""Keys of one object."""

MAX_DEPTH: Final = 64
"""Levels of objects and lists."""

MAX_DIGITS: Final = 100
"""Characters of a number: the time to read one grows with the square of its digits."""

MAX_CURSOR_LETTERS: Final = 2000

MAX_ESCAPES: Final = 1_000_000
"""Characters that are written with their numbers (``\\u00e9``)."""

_LONE_SURROGATE: Final = re.compile(
    rb"\\u[dD](?:[89abAB][0-9a-fA-F]{2}(?!\\u[dD][c-fC-F])|(?<!\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD])[c-fC-F])"
)
"""Half of a character, in a text whose backslashes that stand for themselves are taken out."""

_STEPS: Final = np.zeros(256, np.int8)
"""What a byte outside of texts does to the depth."""

_STEPS[list(b"[{")], _STEPS[list(b"]}")] = 1, -1


class JsonSyntaxError(ValueError):
    """A text is not JSON."""


class JsonLimitError(ValueError):
    """A text is JSON that is not taken: too much of it, equal keys, or values that most programs cannot hold."""


def parse_json(text: bytes) -> Any:
    """Parse JSON (RFC 8259, in UTF-8).

    Raises:
        JsonSyntaxError: it is not JSON.
        JsonLimitError: it has more of something than the limits above, an object has a key twice, a text has half of a
            character, or a number is NaN or infinite.
    """
    _check_size(text)
    try:
        return _DECODER.decode(text.decode())
    except json.JSONDecodeError as error:
        raise JsonSyntaxError(f"{error.msg} at character {error.pos}") from None
    except UnicodeDecodeError as error:
        raise JsonSyntaxError(f"expected UTF-8, got something else at byte {error.start}") from None


def read_cursor(text: str) -> list[Any]:
    """The values of a cursor: the ``after`` of a page is the ``next`` of the one before.

    Raises:
        QueryError: it is none.
    """
    try:
        values = parse_json(base64.urlsafe_b64decode(text[:MAX_CURSOR_LETTERS] + "=" * (-len(text) % 4)))
    except ValueError:
        raise cursor_error() from None
    if not isinstance(values, list):
        raise cursor_error()
    return values


def write_cursor(values: list[Any]) -> str:
    """The cursor that ``read_cursor`` reads."""
    return base64.urlsafe_b64encode(json.dumps(values).encode()).decode().rstrip("=")


def cursor_error() -> QueryError:
    """The error of a text that is no cursor."""
    return QueryError("'after' must be the 'next' of the page before, as it was answered")


def _check_size(text: bytes) -> None:
    if b"\\" in text:
        text = text.replace(rb"\\", b"")  # what is left of several backslashes belongs to what follows
        _check_limit(text.count(rb"\u"), MAX_ESCAPES, "characters written with their numbers")
        if _LONE_SURROGATE.search(text):
            raise JsonLimitError("a text in it has half of a character (a lone surrogate)")
        text = text.replace(rb"\"", b"")
    opening = text.count(b"[") + text.count(b"{")
    if opening <= MAX_DEPTH and (len(text) <= MAX_KEYS or text.count(b",") < MAX_KEYS):
        return  # even if all of them are outside of texts
    letters = np.frombuffer(text, np.uint8)
    letters = letters[~np.logical_xor.accumulate(letters == ord('"'))]
    steps = _STEPS[letters]
    containers, commas, keys = (
        int(np.count_nonzero(each)) for each in (steps > 0, letters == ord(","), letters == ord(":"))
    )
    if steps.sum(dtype=np.int64):
        raise JsonSyntaxError("its brackets do not match")
    _check_limit(containers, MAX_CONTAINERS, "objects and lists")
    _check_limit(containers + commas + 1, MAX_VALUES, "values")
    _check_limit(keys, MAX_KEYS, "keys")
    _check_limit(int(np.cumsum(steps[steps != 0], dtype=np.int32).max(initial=0)), MAX_DEPTH, "levels")


def _check_limit(count: int, limit: int, things: str) -> None:
    if count > limit:
        raise JsonLimitError(f"it must have at most {limit} {things}, got {count}")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    _check_limit(len(pairs), MAX_OBJECT_KEYS, "keys in an object")
    values = dict(pairs)
    if len(values) < len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise JsonLimitError(f"an object has the key {twice[:80]!r} twice")
    return values


def _integer(text: str) -> int:
    _check_digits(text)
    return int(text)


def _float(text: str) -> float:
    _check_digits(text)
    value = float(text)
    return value if math.isfinite(value) else _refuse_number(text)


def _check_digits(text: str) -> None:
    if len(text) > MAX_DIGITS:
        raise JsonLimitError(f"a number must have at most {MAX_DIGITS} digits, got {len(text)}")


def _refuse_number(text: str) -> NoReturn:
    raise JsonLimitError(f"a number must be finite, got {text}")


_DECODER: Final = json.JSONDecoder(
    object_pairs_hook=_object, parse_int=_integer, parse_float=_float, parse_constant=_refuse_number
)
