"""Which gallery a command works on: the options that name it, and the open gallery."""

import argparse
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from mien.model.errors import ConfigError
from mien.service.commands.terminal import console
from mien.service.settings import Settings, read_settings

if TYPE_CHECKING:
    from mien.index.bundle.bundle import Bundle
    from mien.index.gallery.store import GalleryStore


def add_place_options(parser: argparse.ArgumentParser) -> None:
    """Add ``--gallery`` and ``--bundle``."""
    parser.add_argument(
        "--gallery",
        metavar="PLACE",
        help="The gallery's folder, or address such as milvus://host:19530/collection (default: MIEN_GALLERY).",
    )
    parser.add_argument("--bundle", type=Path, metavar="PATH", help="The bundle's folder (default: MIEN_BUNDLE).")


def read_place(arguments: argparse.Namespace) -> tuple[str, Settings]:
    """The place of the gallery, and the settings of the environment.

    Raises:
        ConfigError: no gallery is named, or a setting is wrong.
    """
    settings = read_settings(os.environ, gallery=arguments.gallery, bundle=arguments.bundle)
    if settings.gallery is None:
        raise ConfigError("which gallery? expected --gallery or MIEN_GALLERY, got neither")
    return settings.gallery, settings


@contextmanager
def open_place(
    arguments: argparse.Namespace, *, create: bool = True
) -> Iterator[tuple["GalleryStore", "Bundle", Settings]]:
    """The gallery, open until the end of the block, and the bundle whose network made its embeddings.

    Args:
        arguments: with the options of ``add_place_options``.
        create: a folder that does not exist becomes an empty gallery.

    Raises:
        ConfigError: no gallery is named or it does not exist, or a setting is wrong.
        ArtifactError: the gallery or the bundle cannot be used.
    """
    from mien.index.bundle.bundle import load_bundle
    from mien.index.bundle.manifest import EMBEDDER
    from mien.index.gallery.milvus.address import is_address
    from mien.index.gallery.open import open_gallery
    from mien.service.inference.served_gallery import index_policy

    place, settings = read_place(arguments)
    if not create and not is_address(place) and not Path(place).is_dir():
        raise ConfigError(f"expected the folder of a gallery, got {place}, which is not there")
    bundle = load_bundle(settings.bundle)
    size = bundle.mixture.centroids.shape[1]
    gallery = open_gallery(place, size, bundle.manifest.sha256[EMBEDDER], policy=index_policy(settings))
    for remark in gallery.remarks:
        console.print(remark, style="yellow")
    try:
        yield gallery, bundle, settings
    finally:
        gallery.close()
