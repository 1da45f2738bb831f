"""Snapshots of galleries: folders that hold an embedded gallery, whichever implementation wrote them."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from mien.index.errors import GalleryError
from mien.index.gallery.embedded.folder import open_database
from mien.index.gallery.embedded.gallery import open_embedded_gallery
from mien.index.gallery.embedded.snapshots import database_pages
from mien.index.gallery.face import GalleryFace
from mien.index.gallery.store import GalleryStore


def write_snapshot(folder: Path, gallery: GalleryStore) -> int:
    """Write all faces of a gallery to a new folder; returns how many there are.

    Raises:
        GalleryError: the folder exists already.
    """
    if folder.exists():
        raise GalleryError(f"{folder} exists already: a snapshot must be written to a new folder")
    with closing(open_embedded_gallery(folder, gallery.embedding_size, gallery.embedder_sha256)) as snapshot:
        for page in gallery.pages():
            snapshot.add(page)
        return snapshot.count()


def read_snapshot(folder: Path, embedding_size: int, embedder_sha256: str) -> Iterator[list[GalleryFace]]:
    """All faces of a snapshot or an embedded gallery at one moment, with thumbnails, a page at a time.

    Raises:
        GalleryError: the folder holds no gallery, or one of a newer version or another network.
    """
    database = open_database(folder, embedding_size, embedder_sha256)

    def pages() -> Iterator[list[GalleryFace]]:
        with closing(database):
            yield from database_pages(database)

    return pages()
