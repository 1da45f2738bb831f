"""``mien gallery restore``: replaces the gallery's content by that of a snapshot."""

import argparse
from pathlib import Path

from mien.service.commands.gallery.place import add_place_options, open_place
from mien.service.commands.terminal import console


def add_options(parser: argparse.ArgumentParser) -> None:
    add_place_options(parser)
    parser.add_argument("snapshot", type=Path, metavar="PATH", help="The snapshot's folder.")


def run(arguments: argparse.Namespace) -> int:
    """Restore, and print how many faces the gallery has now."""
    with open_place(arguments) as (gallery, _, _):
        count = gallery.restore(arguments.snapshot)
    console.print(f"restored {count} faces")
    return 0
