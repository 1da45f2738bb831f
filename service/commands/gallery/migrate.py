"""``mien gallery migrate``: copies a gallery to another place."""

import argparse

from mien.service.commands.gallery.place import add_place_options, read_place
from mien.service.commands.terminal import console, progress_bar, write


def add_options(parser: argparse.ArgumentParser) -> None:
    add_place_options(parser)
    parser.add_argument("--to", required=True, metavar="PLACE", help="Folder or address of the other gallery.")
    parser.add_argument(
        "--replace",
        action="store_true",
        help="Replace faces that the other gallery has with the same id and other content.",
    )


def run(arguments: argparse.Namespace) -> int:
    """Copy every face, and print what became of them."""
    from mien.index.bundle.manifest import EMBEDDER, read_manifest
    from mien.index.gallery.migrate import migrate
    from mien.model.embedder.embedder import Embedder

    source, settings = read_place(arguments)
    sha256 = read_manifest(settings.bundle).sha256[EMBEDDER]
    size = Embedder(settings.bundle / EMBEDDER).embedding_size
    with progress_bar() as bar:
        task = bar.add_task("faces", total=None, note="")
        done = migrate(
            source,
            arguments.to,
            size,
            sha256,
            replace=arguments.replace,
            on_progress=lambda so_far: bar.update(task, completed=so_far.faces),
        )
    write(f"{done.faces} faces: {done.added} added, {done.unchanged} there already, {done.replaced} replaced")
    console.print(f"the gallery was copied to {arguments.to}; {source} is unchanged")
    return 0
