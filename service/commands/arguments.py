"""Options that several commands share."""

import argparse
from pathlib import Path
from typing import Final

from mien.index.bundle.default import default_bundle
from mien.model.datasets.ferplus import LabelledFaces, Split
from mien.model.errors import DatasetError
from mien.model.faces.decoding import DecodingLimits
from mien.service.commands.options import add_config_options
from mien.service.commands.terminal import console, staged_bar

DATA_HELP: Final = "FER+ folder: FER2013Train/ and FER2013Valid/ with label.csv, or fer2013.csv and fer2013new.csv"

OWN_DATA_HELP: Final = (
    f"{DATA_HELP}; or photographs with labels of your own: a folder for each label, perhaps within train/ and "
    "validation/, or labels.csv with the columns image and label, perhaps subject and split"
)


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


def add_data_option(parser: argparse.ArgumentParser, *, required: bool = True) -> None:
    """Add ``--data``, the folder of FER+ or of photographs, and ``--already-cropped`` for the latter."""
    parser.add_argument("--data", type=Path, required=required, metavar="PATH", help=OWN_DATA_HELP)
    parser.add_argument(
        "--already-cropped",
        action="store_true",
        help="The photographs of --data are face crops: detect nothing. Those of FER+ always are.",
    )


def read_data(arguments: argparse.Namespace, split: Split) -> LabelledFaces:
    """Read a split of ``--data``; says what was left out.

    Raises:
        DatasetError: there is no such data, or none of its photographs can be used.
    """
    from mien.index.fitting.training_data import read_training_data
    from mien.model.faces.detection import Detector
    from mien.model.faces.reader import FaceReader

    def on_left_out(counts: dict[str, int]) -> None:
        console.print(f"{split}, left out: {', '.join(f'{count} {what}' for what, count in counts.items())}")

    if not arguments.data.exists():  # before a bar is drawn
        raise DatasetError(
            f"--data must be FER+, a folder of photographs or their table, got {arguments.data}, which is not there"
        )
    with staged_bar(f"reading {split}") as (_, on_progress):
        return read_training_data(
            arguments.data,
            split,
            lambda: FaceReader(Detector()),
            already_cropped=arguments.already_cropped,
            on_progress=on_progress,
            on_left_out=on_left_out,
        )


def add_answer_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of commands that answer about images: how the answer is written, and how images are read."""
    form = parser.add_mutually_exclusive_group()
    for name, summary in (("json", "Write JSON."), ("csv", "Write CSV.")):
        form.add_argument(f"--{name}", dest="form", action="store_const", const=name, default="table", help=summary)
    parser.add_argument("--already-cropped", action="store_true", help="The images are face crops: detect nothing.")
    add_bundle_option(parser)
    add_config_options(parser, DecodingLimits)
