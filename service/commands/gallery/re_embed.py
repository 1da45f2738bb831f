"""``mien gallery re-embed``: a gallery for another network, in a new folder."""

import argparse
from pathlib import Path

from mien.service.commands.gallery.place import add_place_options, read_place


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``mien gallery re-embed``."""
    add_place_options(parser)
    parser.add_argument(
        "output",
        type=Path,
        metavar="PATH",
        help="Folder of the new gallery; a run that was interrupted continues there.",
    )
    parser.add_argument(
        "--originals", type=Path, metavar="PATH", help="Folder of the original pictures; an id is a path in it."
    )
    parser.add_argument("--already-cropped", action="store_true", help="The originals are face crops: detect nothing.")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Embed every face again; 0 if all are in the new gallery, else 1."""
    from mien.service.bulk.reembed import re_embed_gallery

    place, settings = read_place(arguments)
    return re_embed_gallery(
        Path(place),
        arguments.output,
        settings.bundle,
        originals=arguments.originals,
        already_cropped=arguments.already_cropped,
    )
