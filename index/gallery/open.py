"""Opening a gallery by one line of text: a folder of this machine, or the address of a distributed database."""

from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

from mien.index.gallery.embedded.gallery import open_embedded_gallery
from mien.index.gallery.face import GalleryFace
from mien.index.gallery.milvus.address import is_address, parse_address
from mien.index.gallery.milvus.gallery import open_milvus_gallery
from mien.index.gallery.snapshots import read_snapshot
from mien.index.gallery.store import GalleryStore
from mien.index.gallery.vectors.policy import IndexPolicy


def open_gallery(
    place: str, embedding_size: int, embedder_sha256: str, *, policy: IndexPolicy | None = None
) -> GalleryStore:
    """Open the gallery at a place, or create an empty one.

    Args:
        place: a folder, or an address such as ``milvus://host:19530/collection``.
        embedding_size: d, dimensions of the network.
        embedder_sha256: of the network whose embeddings it holds.
        policy: how the gallery of a folder is searched; an address has options for this.

    Raises:
        ConfigError: the address is invalid, or its client is not installed.
        GalleryError: the place cannot be used, or holds embeddings of another network or a newer version.
    """
    if is_address(place):
        return open_milvus_gallery(parse_address(place), embedding_size, embedder_sha256)
    return open_embedded_gallery(Path(place), embedding_size, embedder_sha256, policy=policy)


def read_pages(place: str, embedding_size: int, embedder_sha256: str) -> Iterator[Sequence[GalleryFace]]:
    """All faces of a gallery that exists, with thumbnails, a page at a time, while others use it.

    Raises:
        ConfigError: see ``open_gallery``.
        GalleryError: there is no gallery, or see ``open_gallery``.
    """
    if not is_address(place):
        return read_snapshot(Path(place), embedding_size, embedder_sha256)
    gallery = open_milvus_gallery(parse_address(place), embedding_size, embedder_sha256, create=False)

    def pages() -> Iterator[Sequence[GalleryFace]]:
        with closing(gallery):
            yield from gallery.pages()

    return pages()
