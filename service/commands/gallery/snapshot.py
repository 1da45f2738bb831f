"""``mien gallery snapshot``: the gallery as it is at this moment, in a new folder."""

import argparse
from pathlib import Path

from mien.service.commands.gallery.place import add_place_options, opened_gallery
from mien.service.commands.terminal import console


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``mien gallery snapshot``."""
    add_place_options(parser)
    parser.add_argument("output", type=Path, metavar="PATH", help="The folder to write.")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Write the snapshot, and print how many faces it has."""
    with opened_gallery(arguments) as (gallery, _, _):
        count = gallery.snapshot(arguments.output)
    console.print(f"{arguments.output}: {count} faces")
    return 0
