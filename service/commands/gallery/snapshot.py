"""``mien gallery snapshot``: the gallery as it is at this moment, in a new folder."""

import argparse
from pathlib import Path

from mien.service.commands.gallery.place import add_place_options, open_place
from mien.service.commands.terminal import console


def add_options(parser: argparse.ArgumentParser) -> None:
    add_place_options(parser)
    parser.add_argument("output", type=Path, metavar="PATH", help="The folder to write.")


def run(arguments: argparse.Namespace) -> int:
    """Write the snapshot, and print how many faces it has."""
    with open_place(arguments) as (gallery, _, _):
        count = gallery.snapshot(arguments.output)
    console.print(f"{arguments.output}: {count} faces")
    return 0
