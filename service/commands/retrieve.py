"""``mien retrieve``: the nearest expressions for the faces of an image, without a server."""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from rich.table import Table

from mien.model.errors import reason_of
from mien.model.faces.decoding import DecodingLimits
from mien.service.commands.arguments import add_answer_options
from mien.service.commands.options import read_options
from mien.service.commands.terminal import console, output, write_csv, write_json

_SHOWN_VOTES: Final = 3


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("image", type=Path, metavar="IMAGE", help="A photograph or a face crop.")
    parser.add_argument("-k", type=int, default=10, metavar="N", help="Matches for each face (default: 10).")
    parser.add_argument(
        "--gallery", metavar="PLACE", help="Folder or address of your own gallery (default: the bundle's)."
    )
    parser.add_argument(
        "--contact-sheet",
        type=Path,
        metavar="FILE",
        help="PNG file to draw: each face and its matches, as portraits or, where the gallery keeps them, thumbnails.",
    )
    add_answer_options(parser)


def run(arguments: argparse.Namespace) -> int:
    """Search, and write a row for each match; 0 if there is a face, else 1."""
    from mien.service.commands.contact_sheet import check_sheet, contact_sheet
    from mien.service.inference.prediction import Prediction
    from mien.service.local.client import rounded
    from mien.service.local.load import load
    from mien.service.schemas.faces import retrieval

    if arguments.contact_sheet is not None:
        check_sheet(arguments.contact_sheet, arguments.k)
    rows: list[dict[str, Any]] = []
    limits = read_options(arguments, DecodingLimits)
    with load(arguments.bundle, gallery=arguments.gallery, limits=limits) as local:
        predicted = local.predict_all([arguments.image], k=arguments.k, already_cropped=arguments.already_cropped)
        for prediction in predicted:
            if not isinstance(prediction, Prediction):
                console.print(f"left out {arguments.image}: {reason_of(prediction)}")
                continue
            answer = rounded(retrieval(prediction))
            if arguments.contact_sheet is not None:
                sheet = contact_sheet(local.engine, prediction.faces, answer.faces)
                sheet.save(arguments.contact_sheet, "PNG")
            rows += answer.rows()
    if arguments.form == "json":
        write_json(rows)
    elif arguments.form == "csv":
        write_csv([row | {"metadata": json.dumps(row["metadata"])} for row in rows])
    elif rows:
        output.print(_table(arguments.image, rows))
    return 0 if rows else 1


def _table(path: Path, rows: Sequence[dict[str, Any]]) -> Table:
    table = Table("face", "rank", "match", "distance", "label", "emotion", "votes", title=str(path))
    for row in rows:
        votes = sorted(row["metadata"].get("votes", {}).items(), key=lambda pair: -pair[1])[:_SHOWN_VOTES]
        table.add_row(
            f"{row['face']} ({row['face_emotion']})",
            str(row["rank"]),
            row["id"],
            f"{row['distance']:.3f}",
            row["label"] or "",
            row["emotion"] or "",
            ", ".join(f"{name} {count}" for name, count in votes),
        )
    return table
