"""``mien gallery re-embed``: a gallery for another network, in a new folder."""

import argparse
from contextlib import closing
from pathlib import Path
from typing import Final

from mien.service.commands.gallery.place import add_place_options, read_place
from mien.service.commands.terminal import console, progress_bar

_SHOWN: Final = 10


def add_options(parser: argparse.ArgumentParser) -> None:
    add_place_options(parser)
    parser.add_argument(
        "output",
        type=Path,
        metavar="PATH",
        help="Folder of the new gallery; a run that was interrupted continues there.",
    )
    parser.add_argument(
        "--originals", type=Path, metavar="PATH", help="Folder of the original images; an id is a path in it."
    )
    parser.add_argument("--already-cropped", action="store_true", help="The originals are face crops: detect nothing.")


def run(arguments: argparse.Namespace) -> int:
    """Embed every face again; 0 if all are in the new gallery, else 1."""
    from mien.index.bundle.bundle import check_fits, load_bundle
    from mien.index.bundle.manifest import EMBEDDER
    from mien.index.errors import GalleryError
    from mien.index.gallery.embedded.folder import network_of
    from mien.index.gallery.embedded.gallery import open_embedded_gallery
    from mien.model.pipeline import load_pipeline
    from mien.service.bulk.reembed import CropSource, re_embed

    place, settings = read_place(arguments)
    bundle = load_bundle(settings.bundle)
    old_sha256, old_size = network_of(Path(place))
    new_sha256 = bundle.manifest.sha256[EMBEDDER]
    if old_sha256 == new_sha256:
        raise GalleryError(f"{place} was made by the network of {settings.bundle} already: there is nothing to do")
    pipeline = load_pipeline(bundle.embedder_path)
    check_fits(bundle, pipeline.embedder)
    with (
        closing(open_embedded_gallery(Path(place), old_size, old_sha256)) as old,
        closing(open_embedded_gallery(arguments.output, pipeline.embedder.embedding_size, new_sha256)) as new,
        progress_bar() as bar,
    ):
        task = bar.add_task("embedding", total=old.count(), note="")
        source = CropSource(old, pipeline, arguments.originals, arguments.already_cropped)
        left_out = re_embed(source, bundle, new, lambda count: bar.advance(task, count))
        count = new.count()
    for face_id, reason in left_out[:_SHOWN]:
        console.print(f"left out {face_id}: {reason}")
    console.print(f"{arguments.output}: {count} faces; {len(left_out)} left out")
    return 1 if left_out else 0
