"""All faces of an embedded gallery or a snapshot, for another gallery to take over."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Final

from mien.index.gallery.embedded.database import FACE, GalleryDatabase, to_face
from mien.index.gallery.embedded.folder import DATABASE, check_network
from mien.index.gallery.face import GalleryFace

_PAGE: Final = 500


def folder_pages(folder: Path, embedding_size: int, embedder_sha256: str) -> Iterator[list[GalleryFace]]:
    """Every face of an embedded gallery or a snapshot, as it is at one moment.

    Raises:
        GalleryError: the folder holds no gallery, or one of a newer version or another network.
    """
    database = GalleryDatabase(folder / DATABASE)
    try:
        state = database.state()
        check_network(folder, state.embedder_sha256, state.embedding_size, embedder_sha256, embedding_size)
    except BaseException:
        database.close()
        raise
    return _folder_pages(database)


def _folder_pages(database: GalleryDatabase) -> Iterator[list[GalleryFace]]:
    picture = "(SELECT image FROM thumbnails WHERE thumbnails.sequence = faces.sequence)"
    with closing(database), database.reading() as connection:
        rows = connection.execute(f"SELECT {FACE}, {picture} FROM faces ORDER BY id")  # noqa: S608
        while page := rows.fetchmany(_PAGE):
            yield [to_face(row[:-1], row[-1]) for row in page]
