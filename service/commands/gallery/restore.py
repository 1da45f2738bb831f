"""``mien gallery restore``: replaces the gallery's content by that of a snapshot."""

import argparse
from pathlib import Path

from mien.service.commands.gallery.place import add_place_options, open_place, read_place
from mien.service.commands.terminal import console


def add_options(parser: argparse.ArgumentParser) -> None:
    add_place_options(parser)
    parser.add_argument("snapshot", type=Path, metavar="PATH", help="The snapshot's folder.")


def run(arguments: argparse.Namespace) -> int:
    """Restore, and print how many faces the gallery has now."""
    from mien.index.errors import GalleryDamagedError

    try:
        with open_place(arguments) as (gallery, _, _):
            count = gallery.restore(arguments.snapshot)
    except GalleryDamagedError as error:
        count = _replace(arguments, str(error))
    console.print(f"restored {count} faces")
    return 0


def _replace(arguments: argparse.Namespace, fault: str) -> int:
    """Put the snapshot in the place of a gallery that cannot be opened."""
    from mien.index.bundle.bundle import load_bundle
    from mien.index.bundle.manifest import EMBEDDER
    from mien.index.gallery.snapshots import DAMAGED, replace_damaged

    place, settings = read_place(arguments)
    bundle = load_bundle(settings.bundle)
    console.print(fault, style="yellow", markup=False)
    size = bundle.mixture.centroids.shape[1]
    count = replace_damaged(Path(place), arguments.snapshot, size, bundle.manifest.sha256[EMBEDDER])
    console.print(
        f"the damaged database is kept as {DAMAGED} in {place}, with what can be read in it: delete it yourself"
    )
    return count
