"""Pages of a search: where the next one starts, so that no face is on two of them, and none is on no page.

Pages follow one another in the exact order of distances. A first page that approximate search has answered may have
missed some: so the second begins at the very start of that order, and leaves out what the first has shown, of which
the options of the next page keep a mark each, until the order has come past the last of them.
"""

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from mien.index.gallery.store import SearchOptions

MAX_MARKED: Final = 100
"""Matches of a page that may be approximate: more are searched exactly, so that the start of the next page is short."""

MARK_LETTERS: Final = 8

_BEGINNING: Final = (-1.0, "")
"""A place before every match."""


def mark(face_id: str) -> str:
    """A short text that stands for an id among some hundred others."""
    return base64.urlsafe_b64encode(hashlib.blake2b(face_id.encode(), digest_size=6).digest()).decode()


def next_page(
    options: SearchOptions, snapshot: int, matches: Sequence[tuple[float, str]], *, exact: bool
) -> SearchOptions:
    """The options of the page after one.

    Args:
        options: of the page.
        snapshot: the number that it was answered with.
        matches: distance and id of its matches, at least one.
        exact: whether they are surely the nearest; see ``SearchResult``.
    """
    distance, face_id = matches[-1]
    if not exact:
        marks = frozenset(mark(each) for _, each in matches)
        return replace(options, snapshot=snapshot, after=_BEGINNING, marks=marks, marks_until=distance)
    if distance > options.marks_until:
        options = replace(options, marks=frozenset(), marks_until=0.0)
    return replace(options, snapshot=snapshot, after=(distance, face_id))
