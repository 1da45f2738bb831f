"""``mien gallery list``: the faces of a gallery, or those that are selected."""

import argparse
import json
from itertools import islice
from typing import Any, Final

from rich.markup import escape
from rich.table import Table

from mien.service.commands.gallery.place import add_place_options, open_place
from mien.service.commands.gallery.selection import add_selection_options, read_selection
from mien.service.commands.terminal import console, output, write_csv, write_json

_COLUMNS: Final = ("id", "label", "emotion", "sub_class", "subject", "time")
_MAX_ID_CELLS: Final = 32


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
    """The columns that have values; ids can be copied, whatever the width of the terminal."""
    texts = [_texts(row) for row in rows]
    table = Table()
    for name in _COLUMNS:
        if name == "id":
            longest = max((len(text[name]) for text in texts), default=0)
            table.add_column(name, overflow="fold", width=min(longest, _MAX_ID_CELLS))
        elif any(text[name] for text in texts):
            table.add_column(name.replace("_", " "))
    for text in texts:
        table.add_row(*(escape(text[str(column.header).replace(" ", "_")]) for column in table.columns))
    return table


def _texts(row: dict[str, Any]) -> dict[str, str]:
    """The values of a face as they are shown: its sub-class without the emotion, its time to the minute."""
    sub_class = row["sub_class_name"] or row["sub_class"] or ""
    shown = row | {"sub_class": sub_class.rpartition("/")[2], "time": (row["time"] or "")[:16].replace("T", " ")}
    return {name: "" if shown[name] is None else str(shown[name]) for name in _COLUMNS}
