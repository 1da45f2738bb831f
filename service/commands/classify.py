"""``mien classify``: the emotion of each face in images, without a server."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

from rich.table import Table

from mien.model.emotions import EmotionPrior
from mien.model.faces.decoding import DecodingLimits
from mien.model.files import files_below
from mien.service.answers.base import flatten
from mien.service.commands.arguments import add_answer_options
from mien.service.commands.options import read_options
from mien.service.commands.terminal import output, progress_bar, write_csv, write_json


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("paths", type=Path, nargs="+", metavar="PATH", help="Images, or folders of images.")
    parser.add_argument(
        "--prior",
        choices=get_args(EmotionPrior),
        default="uniform",
        help="Weights of the emotions in the posterior: uniform, or data, their shares of the training faces.",
    )
    add_answer_options(parser)


def run(arguments: argparse.Namespace) -> int:
    """Classify, and write a row for each face; 0 if there is a face, else 1."""
    from mien.service.commands.local_engine import load_local_engine, predict_files
    from mien.service.schemas.faces import classification

    engine = load_local_engine(arguments.bundle, read_options(arguments, DecodingLimits), prior=arguments.prior)
    files = [file for path in arguments.paths for file in files_below(path)]
    rows: list[dict[str, Any]] = []
    with progress_bar() as bar:
        task = bar.add_task("classifying", total=len(files), note="")
        for path, prediction in predict_files(engine, files, already_cropped=arguments.already_cropped):
            if prediction is not None:
                rows += [
                    {"path": str(path), "face": number, **face.model_dump(mode="json")}
                    for number, face in enumerate(classification(prediction).faces)
                ]
            bar.advance(task)
    if arguments.form == "json":
        write_json(rows)
    elif arguments.form == "csv":
        write_csv([flatten({**row, "reasons": " ".join(row["reasons"])}) for row in rows])
    elif rows:
        output.print(_table(rows))
    return 0 if rows else 1


def _table(rows: Sequence[dict[str, Any]]) -> Table:
    table = Table("file", "face", "emotion", "probability", "next", "typicality", "doubts")
    for row in rows:
        (_, first), (second, share), *_ = sorted(row["posterior"].items(), key=lambda pair: -pair[1])
        table.add_row(
            row["path"],
            str(row["face"]),
            row["emotion"] if row["known"] else f"{row['emotion']}?",
            f"{first:.2f}",
            f"{second} {share:.2f}",
            f"{row['typicality']:.2f}",
            ", ".join(row["reasons"]).replace("_", " "),
        )
    return table
