"""Where a gallery is kept: a folder of this machine, or a collection of a distributed database, by one line of text."""

from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

from mien.index.gallery.embedded.gallery import EmbeddedGallery, open_embedded_gallery
from mien.index.gallery.embedded.pages import folder_pages
from mien.index.gallery.face import GalleryFace
from mien.index.gallery.milvus.address import is_address, parse_address
from mien.index.gallery.milvus.gallery import MilvusGallery, open_milvus_gallery
from mien.index.gallery.vectors.policy import IndexPolicy


def open_gallery(
    place: str, embedding_size: int, embedder_sha256: str, *, policy: IndexPolicy | None = None
) -> EmbeddedGallery | MilvusGallery:
    """Open the gallery of a place; one that is not there is made.

    Args:
        place: a folder, or an address such as ``milvus://host:19530/collection``.
        embedding_size: d, dimensions of the network.
        embedder_sha256: of the network whose embeddings it holds.
        policy: how a folder is searched; an address says for itself.

    Raises:
        ConfigError: the address cannot be read, or its client is not installed.
        GalleryError: the place cannot be used, or holds embeddings of another network or a newer version.
    """
    if is_address(place):
        return open_milvus_gallery(parse_address(place), embedding_size, embedder_sha256)
    return open_embedded_gallery(Path(place), embedding_size, embedder_sha256, policy=policy)


def pages_of(place: str, embedding_size: int, embedder_sha256: str) -> Iterator[Sequence[GalleryFace]]:
    """Every face of a gallery that is there already, with thumbnails, a page at a time; others may use it meanwhile.

    Raises:
        ConfigError: see ``open_gallery``.
        GalleryError: there is no gallery, or see ``open_gallery``.
    """
    if is_address(place):
        return _collection_pages(place, embedding_size, embedder_sha256)
    return folder_pages(Path(place), embedding_size, embedder_sha256)


def _collection_pages(place: str, embedding_size: int, embedder_sha256: str) -> Iterator[Sequence[GalleryFace]]:
    gallery = open_milvus_gallery(parse_address(place), embedding_size, embedder_sha256, create=False)

    def pages() -> Iterator[Sequence[GalleryFace]]:
        with closing(gallery):
            yield from gallery.every_face_whole()

    return pages()
