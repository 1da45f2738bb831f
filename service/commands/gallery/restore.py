"""``mien gallery restore``: replaces the gallery's content by that of a snapshot."""

import argparse
from pathlib import Path

from mien.service.commands.gallery.place import add_place_options, opened_gallery
from mien.service.commands.terminal import console


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``mien gallery restore``."""
    add_place_options(parser)
    parser.add_argument("snapshot", type=Path, metavar="PATH", help="The snapshot's folder.")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Restore, and print how many faces the gallery has now."""
    with opened_gallery(arguments) as (gallery, _, _):
        count = gallery.restore(arguments.snapshot)
    console.print(f"restored {count} faces")
    return 0
