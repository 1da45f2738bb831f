"""``mien gallery list``: the faces of a gallery, or those that are selected."""

import argparse
import json
from itertools import islice
from typing import Any, Final

from rich.table import Table

from mien.service.commands.gallery.place import add_place_options, open_place
from mien.service.commands.gallery.selection import add_selection_options, read_selection
from mien.service.commands.terminal import console, output, write_csv, write_json

_COLUMNS: Final = ("id", "label", "emotion", "sub_class", "subject", "time", "has_thumbnail")


def add_options(parser: argparse.ArgumentParser) -> None:
    add_place_options(parser)
    add_selection_options(parser)
    parser.add_argument(
        "--limit", type=int, default=100, metavar="N", help="Faces to list (default: 100; 0 lists all)."
    )
    form = parser.add_mutually_exclusive_group()
    for name, summary in (("json", "Write JSON."), ("csv", "Write CSV.")):
        form.add_argument(f"--{name}", dest="form", action="store_const", const=name, default="table", help=summary)


def run(arguments: argparse.Namespace) -> int:
    """Write a row for each face, by id; 0 if there is one, else 1."""
    from mien.index.gallery.store import every_face
    from mien.service.schemas.gallery import gallery_face

    condition = read_selection(arguments)
    with open_place(arguments, create=False) as (gallery, bundle, _):
        count = gallery.count(condition)
        faces = islice(every_face(gallery, condition), arguments.limit or None)
        rows = [gallery_face(face, bundle.sub_class_names).model_dump(mode="json") for face in faces]
    if arguments.form == "json":
        write_json(rows)
    elif arguments.form == "csv":
        write_csv([row | {"metadata": json.dumps(row["metadata"])} for row in rows])
    else:
        output.print(_table(rows))
    console.print(f"{len(rows)} of {count} faces")
    return 0 if rows else 1


def _table(rows: list[dict[str, Any]]) -> Table:
    table = Table(*(name.replace("_", " ") for name in _COLUMNS))
    for row in rows:
        named = row | {"sub_class": row["sub_class_name"] or row["sub_class"]}
        table.add_row(*("" if named[name] is None else str(named[name]) for name in _COLUMNS))
    return table
