"""Which faces of a gallery a command is about: the options that select them."""

import argparse
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from mien.index.gallery.filters import Filter

_NAMES: Final = {
    "label": "Faces that their owner names so",
    "emotion": "Faces that the mixture names so",
    "sub_class": "Faces of this sub-class, such as happiness/2",
    "subject": "Faces of this person",
}


def add_selection_options(parser: argparse.ArgumentParser) -> None:
    """Add an option for each field, and ``--filter``; a face must pass all that are given."""
    for name, summary in _NAMES.items():
        option = "--" + name.replace("_", "-")
        parser.add_argument(option, action="append", metavar="NAME", help=f"{summary}; may be repeated.")
    parser.add_argument("--since", metavar="TIME", help="Faces of this time or later: a date, or seconds since 1970.")
    parser.add_argument("--until", metavar="TIME", help="Faces of an earlier time than this.")
    parser.add_argument(
        "--thumbnail",
        action=argparse.BooleanOptionalAction,
        help="Faces that have a thumbnail, or with --no-thumbnail none.",
    )
    parser.add_argument("--filter", metavar="JSON", help="Faces that pass a filter (docs/gallery.md).")


def read_selection(arguments: argparse.Namespace) -> "Filter | None":
    """The filter that the options make; None without any.

    Raises:
        FilterError: a time or the filter cannot be read.
    """
    from mien.index.gallery.filters import parse_filter
    from mien.service.schemas.retrieval import parse_filter_text

    parts: list[Any] = [{name: {"in": found}} for name in _NAMES if (found := getattr(arguments, name))]
    parts += [
        {"time": {operator: _moment(text)}}
        for operator, text in (("gte", arguments.since), ("lt", arguments.until))
        if text is not None
    ]
    if arguments.thumbnail is not None:
        parts.append({"has_thumbnail": arguments.thumbnail})
    if arguments.filter is not None:
        parts.append(parse_filter_text(arguments.filter))
    return parse_filter({"and": parts} if len(parts) > 1 else parts[0]) if parts else None


def _moment(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text
