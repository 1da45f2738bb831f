"""``mien gallery export``: all faces as a Parquet file."""

import argparse
from pathlib import Path

from mien.service.commands.gallery.place import add_place_options, open_place
from mien.service.commands.terminal import console, progress_bar


def add_options(parser: argparse.ArgumentParser) -> None:
    add_place_options(parser)
    parser.add_argument("output", type=Path, metavar="FILE", help="The file to write, such as gallery.parquet.")
    parser.add_argument("--thumbnails", action="store_true", help="Also write the thumbnails that the gallery keeps.")


def run(arguments: argparse.Namespace) -> int:
    """Export, and print how many faces were written."""
    from mien.service.bulk.parquet import export_parquet

    with open_place(arguments) as (gallery, _, _), progress_bar() as bar:
        task = bar.add_task("exporting", total=gallery.count(), note="")
        count = export_parquet(
            gallery, arguments.output, lambda done: bar.advance(task, done), thumbnails=arguments.thumbnails
        )
    console.print(f"{arguments.output}: {count} faces")
    return 0
