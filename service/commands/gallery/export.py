"""``mien gallery export``: all faces as a Parquet file."""

import argparse
from pathlib import Path

from mien.service.commands.gallery.place import add_place_options, opened_gallery
from mien.service.commands.terminal import console, progress_bar


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``mien gallery export``."""
    add_place_options(parser)
    parser.add_argument("output", type=Path, metavar="FILE", help="The file to write, such as gallery.parquet.")
    parser.add_argument("--thumbnails", action="store_true", help="Also write the thumbnails that the gallery keeps.")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Export, and print how many faces were written."""
    from mien.service.bulk.parquet import export_parquet

    with opened_gallery(arguments) as (gallery, _, _), progress_bar() as bar:
        task = bar.add_task("exporting", total=gallery.count(), note="")
        count = export_parquet(
            gallery, arguments.output, lambda done: bar.advance(task, done), thumbnails=arguments.thumbnails
        )
    console.print(f"{arguments.output}: {count} faces")
    return 0
