"""``mien classify``: the emotion of each face in images, without a server."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

from rich.table import Table

from mien.model.emotions import EmotionPrior
from mien.model.errors import reason_of
from mien.model.faces.decoding import DecodingLimits
from mien.model.files import files_below
from mien.service.commands.arguments import add_answer_options
from mien.service.commands.options import read_options
from mien.service.commands.terminal import LeftEllipsis, console, output, write_csv, write_json


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
    from mien.service.answers.faces import Classification
    from mien.service.local.load import load

    local = load(arguments.bundle, limits=read_options(arguments, DecodingLimits))
    files = [file for path in arguments.paths for file in files_below(path)]
    answers: list[tuple[str, Classification]] = []
    found = local.classify_all(files, prior=arguments.prior, already_cropped=arguments.already_cropped, progress=True)
    for path, answer in zip(files, found, strict=True):
        if isinstance(answer, Classification):
            answers.append((str(path), answer))
        else:
            console.print(f"left out {path}: {reason_of(answer)}")
    rows = [
        {"path": path, "face": number, **face.model_dump(mode="json")}
        for path, answer in answers
        for number, face in enumerate(answer.faces)
    ]
    if arguments.form == "json":
        write_json(rows)
    elif arguments.form == "csv":
        write_csv([{"path": path, **row} for path, answer in answers for row in answer.rows()])
    elif rows:
        output.print(_table(rows))
    return 0 if rows else 1


def _table(rows: Sequence[dict[str, Any]]) -> Table:
    table = Table("file", "face", "emotion", "probability", "next", "typicality", "doubts")
    for row in rows:
        (_, first), (second, share), *_ = sorted(row["posterior"].items(), key=lambda pair: -pair[1])
        table.add_row(
            LeftEllipsis(row["path"]),
            str(row["face"]),
            row["emotion"] if row["known"] else f"{row['emotion']}?",
            f"{first:.2f}",
            f"{second} {share:.2f}",
            f"{row['typicality']:.2f}",
            ", ".join(row["reasons"]).replace("_", " "),
        )
    return table
