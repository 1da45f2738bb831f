"""Options of a retrieval: filters, exclusions and pages, as query parameters or in JSON."""

import hashlib
from dataclasses import replace
from typing import Any, Final

from pydantic import Field

from mien.index.errors import FilterError, QueryError
from mien.index.gallery.cursor import MARK_LETTERS
from mien.index.gallery.filters import parse_filter
from mien.index.gallery.store import EVERYTHING, SearchOptions
from mien.service.schemas.json_text import (
    MAX_CURSOR_LETTERS,
    JsonLimitError,
    JsonSyntaxError,
    cursor_error,
    parse_json,
    read_cursor,
    write_cursor,
)
from mien.service.schemas.strict import MAX_COUNT, StrictModel

COPIES_WITHIN: Final = 0.05
"""Distance, in embedding units, up to which a face counts as a copy of the query: the same image, encoded again."""


class RetrievalOptions(StrictModel):
    """Options of retrievals by image and by point."""

    one_per_subject: bool = Field(default=False, description="Only the nearest face of each subject.")
    exclude_subject: list[str] = Field(
        default=[],
        max_length=1000,
        fail_fast=True,
        description="Subjects whose faces are left out, such as that of the query.",
    )
    mask_copies: bool = Field(
        default=False, description="Leave out faces of the same image, and those as near as a copy of it."
    )
    max_distance: float | None = Field(
        None, ge=0, allow_inf_nan=False, description="Leave out what is farther, in embedding units.", examples=[2.5]
    )
    photographs: int = Field(
        default=0,
        ge=0,
        le=MAX_COUNT,
        description="Also so many of the nearest faces that have a thumbnail.",
        examples=[12],
    )
    summary: int = Field(
        default=0,
        ge=0,
        le=MAX_COUNT,
        description="Also a count, by sub-class, of so many of the nearest faces.",
        examples=[100],
    )
    after: str | None = Field(
        None,
        max_length=MAX_CURSOR_LETTERS,
        description="The answer's `next` of the page before: for a single face or point.",
    )


def search_options(options: RetrievalOptions, condition: Any) -> SearchOptions:
    """The options of a search in the gallery.

    Args:
        options: of the request.
        condition: the filter as JSON values, or None.

    Raises:
        FilterError: the filter cannot be read.
        QueryError: ``after`` is no ``next`` of an answer, or photographs or a summary are asked of a next page.
    """
    if options.after is not None and (options.photographs or options.summary):
        raise QueryError("photographs and summary are of the first page: expected neither of them with 'after'")
    page = EVERYTHING if options.after is None else _read_page(options.after)
    chosen = SearchOptions(
        filter=None if condition is None else parse_filter(condition),
        one_per_subject=options.one_per_subject,
        exclude_subjects=frozenset(options.exclude_subject),
        copies_within=COPIES_WITHIN if options.mask_copies else None,
        max_distance=options.max_distance,
        snapshot=page.snapshot,
        after=page.after,
        marks=page.marks,
        marks_until=page.marks_until,
    )
    return EVERYTHING if chosen == EVERYTHING else chosen


def without_image(options: SearchOptions, file: bytes) -> SearchOptions:
    """The options of a search with the faces of an image file: where copies are masked, also those of the same file."""
    if options.copies_within is None:
        return options
    return replace(options, exclude_content=frozenset({hashlib.sha256(file).hexdigest()}))


def parse_filter_text(text: str | None) -> Any:
    """The JSON values of a filter in a query parameter.

    Raises:
        FilterError: it is no JSON, or over a limit; the message names the character.
    """
    if text is None:
        return None
    try:
        return parse_json(text.encode("utf-8", "surrogatepass"))
    except JsonSyntaxError as error:
        raise FilterError("$", f"the filter is not JSON: {error}") from None
    except JsonLimitError as error:
        raise FilterError("$", str(error)) from None


def cursor(page: SearchOptions) -> str:
    """The ``after`` of a page: where it starts, and in which state of the gallery.

    Args:
        page: its options, from ``mien.index.gallery.cursor``.
    """
    start: list[Any] = [page.snapshot, *(page.after or ())]
    if page.marks:
        start += [page.marks_until, "".join(sorted(page.marks))]
    return write_cursor(start)


def _read_page(text: str) -> SearchOptions:
    match read_cursor(text):
        case [int(snapshot), int() | float() as distance, str(face_id), *shown] if 0 <= snapshot < 2**63:
            match shown or [0.0, ""]:
                case [int() | float() as until, str(marks)]:
                    places = range(0, len(marks), MARK_LETTERS)
                    return SearchOptions(
                        snapshot=snapshot,
                        after=(float(distance), face_id),
                        marks=frozenset(marks[place : place + MARK_LETTERS] for place in places),
                        marks_until=float(until),
                    )
    raise cursor_error()
