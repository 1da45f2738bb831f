"""Options that several commands share."""

import argparse
from pathlib import Path
from typing import Final

from mien.index.bundle.default import default_bundle
from mien.model.faces.decoding import DecodingLimits
from mien.service.commands.options import add_config_options

DATA_HELP: Final = "FER+ folder: FER2013Train/ and FER2013Valid/ with label.csv, or fer2013.csv and fer2013new.csv"


def add_bundle_option(parser: argparse.ArgumentParser) -> None:
    """Add ``--bundle``, which is the shipped bundle by default."""
    parser.add_argument(
        "--bundle",
        type=Path,
        default=default_bundle(),
        metavar="PATH",
        help="Folder of the bundle (default: the one that ships).",
    )


def add_own_bundle_option(parser: argparse.ArgumentParser) -> None:
    """Add ``--bundle`` for a command that changes the bundle: it has no default."""
    parser.add_argument("--bundle", type=Path, required=True, metavar="PATH", help="Folder of the bundle.")


def add_data_option(parser: argparse.ArgumentParser) -> None:
    """Add ``--data``, the folder of FER+."""
    parser.add_argument("--data", type=Path, required=True, metavar="PATH", help=DATA_HELP)


def add_answer_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of commands that answer about images: how the answer is written, and how images are read."""
    form = parser.add_mutually_exclusive_group()
    for name, summary in (("json", "Write JSON."), ("csv", "Write CSV.")):
        form.add_argument(f"--{name}", dest="form", action="store_const", const=name, default="table", help=summary)
    parser.add_argument("--already-cropped", action="store_true", help="The images are face crops: detect nothing.")
    add_bundle_option(parser)
    add_config_options(parser, DecodingLimits)
