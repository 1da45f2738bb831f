"""Pages of a search: where the next one starts, so that no face is on two pages and none is left out.

Pages follow the exact order of distances. A first page that approximate search found may have missed some matches. So
the second page begins at the very start of that order and leaves out the faces of the first, of which the options keep
a mark each, until the order has passed the last of them.
"""

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from mien.index.gallery.store import SearchOptions

MAX_MARKED: Final = 100
"""Matches of a page that may be approximate; more are searched exactly, so that the next page's cursor stays short."""

MARK_LETTERS: Final = 8

_BEGINNING: Final = (-1.0, "")
"""A place before every match."""


def mark(face_id: str) -> str:
    """A short text that identifies a face among some hundreds."""
    return base64.urlsafe_b64encode(hashlib.blake2b(face_id.encode(), digest_size=6).digest()).decode()


def next_page(
    options: SearchOptions, snapshot: int, matches: Sequence[tuple[float, str]], *, exact: bool
) -> SearchOptions:
    """The options of the page that follows one.

    Args:
        options: of the page.
        snapshot: the snapshot number that was searched.
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
