"""Snapshots of an embedded gallery: its database at one moment, written to a folder and read back whole."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Final

from mien.index.errors import GalleryError
from mien.index.gallery.embedded.database import GalleryDatabase
from mien.index.gallery.embedded.folder import DATABASE, open_database
from mien.index.gallery.embedded.rows import FACE, INSERT_FACE, INSERT_THUMBNAIL, READ_FACE, to_face
from mien.index.gallery.face import GalleryFace

_PAGE: Final = 500


def write_snapshot(database: GalleryDatabase, folder: Path) -> int:
    """Write all faces of this moment to a new folder, while others read and write; returns how many there are.

    Raises:
        GalleryError: the folder exists already, or cannot be written.
    """
    try:
        folder.mkdir(parents=True)
    except FileExistsError:
        raise GalleryError(f"{folder} exists already: a snapshot must be written to a new folder") from None
    except OSError as error:
        raise GalleryError(f"{folder} cannot be made: {error.strerror}") from None
    try:
        with database.reading(moment=False) as connection:  # VACUUM INTO begins its own transaction
            connection.execute("VACUUM INTO ?", (str(folder / DATABASE),))
        with closing(GalleryDatabase(folder / DATABASE)) as copy:
            (count,) = copy.writer.execute("SELECT count(*) FROM faces").fetchone()
    except GalleryError:
        (folder / DATABASE).unlink(missing_ok=True)
        folder.rmdir()
        raise
    return int(count)


def restore_snapshot(database: GalleryDatabase, folder: Path) -> int:
    """Replace all faces by those of a snapshot, or change nothing; returns how many there are.

    Raises:
        GalleryError: the folder holds no snapshot, one of a newer version, or of another network.
    """
    wanted = database.state()
    with (
        closing(open_database(folder, wanted.embedding_size, wanted.embedder_sha256)) as source,
        database.translated_errors(),
    ):
        counter = source.state().counter
        faces = source.writer.execute(f"SELECT {FACE} FROM faces ORDER BY sequence")  # noqa: S608
        thumbnails = source.writer.execute("SELECT sequence, image FROM thumbnails")
        with database.writing() as connection:
            shift = database.state().counter  # restored faces are newer than every snapshot number in use
            connection.execute("DELETE FROM faces")
            connection.execute("DELETE FROM thumbnails")
            connection.execute("DELETE FROM changes")
            cursor = connection.executemany(INSERT_FACE, ((row[0] + shift, *row[1:]) for row in faces))
            connection.executemany(INSERT_THUMBNAIL, ((row[0] + shift, row[1]) for row in thumbnails))
            connection.execute(
                "UPDATE gallery SET counter = ?, forgotten = ?, generation = lower(hex(randomblob(16)))",
                (counter + shift + 1, counter + shift + 1),
            )
            return max(cursor.rowcount, 0)


def database_pages(database: GalleryDatabase) -> Iterator[list[GalleryFace]]:
    """All faces of a database at one moment, by id, with thumbnails, a page at a time."""
    thumbnail = "(SELECT image FROM thumbnails WHERE thumbnails.sequence = faces.sequence)"
    with database.reading() as connection:
        rows = connection.execute(f"SELECT {READ_FACE}, {thumbnail} FROM faces ORDER BY id")  # noqa: S608
        while page := rows.fetchmany(_PAGE):
            yield [to_face(row[:-1], row[-1]) for row in page]
