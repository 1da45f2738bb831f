"""Snapshots of an embedded gallery: its database at one moment, written to a folder and taken back whole."""

from pathlib import Path

from mien.index.errors import GalleryError
from mien.index.gallery.embedded.database import FACE, INSERT_FACE, INSERT_THUMBNAIL, GalleryDatabase
from mien.index.gallery.embedded.folder import DATABASE, check_network


def write_snapshot(database: GalleryDatabase, folder: Path) -> int:
    """Write all there is at this moment to a new folder, while others read and write; returns the number of faces.

    Raises:
        GalleryError: the folder is there already, or cannot be written.
    """
    try:
        folder.mkdir(parents=True)
    except FileExistsError:
        raise GalleryError(f"{folder} is there already: a snapshot is written to a new folder") from None
    except OSError as error:
        raise GalleryError(f"{folder} cannot be made: {error.strerror}") from None
    try:
        with database.reading(moment=False) as connection:  # VACUUM INTO is a transaction of its own
            connection.execute("VACUUM INTO ?", (str(folder / DATABASE),))
        copy = GalleryDatabase(folder / DATABASE)
        try:
            (count,) = copy.writer.execute("SELECT count(*) FROM faces").fetchone()
        finally:
            copy.close()
    except GalleryError:
        (folder / DATABASE).unlink(missing_ok=True)
        folder.rmdir()
        raise
    return int(count)


def take_snapshot(database: GalleryDatabase, folder: Path) -> int:
    """Put what a snapshot holds in the place of all there is, or nothing; returns the number of faces.

    Raises:
        GalleryError: the folder holds no snapshot, one of a newer version, or of another network.
    """
    source = GalleryDatabase(folder / DATABASE)
    try:
        found, wanted = source.state(), database.state()
        check_network(
            folder, found.embedder_sha256, found.embedding_size, wanted.embedder_sha256, wanted.embedding_size
        )
        with database.said():
            (counter,) = source.writer.execute("SELECT max(counter) FROM gallery").fetchone()
            faces = source.writer.execute(f"SELECT {FACE} FROM faces ORDER BY sequence")  # noqa: S608
            pictures = source.writer.execute("SELECT sequence, image FROM thumbnails")
            with database.writing() as connection:
                now = database.state()
                shift = now.counter  # what comes back is newer than every snapshot number that was given out
                connection.execute("DELETE FROM faces")
                connection.execute("DELETE FROM thumbnails")
                connection.execute("DELETE FROM changes")
                cursor = connection.executemany(INSERT_FACE, ((row[0] + shift, *row[1:]) for row in faces))
                connection.executemany(INSERT_THUMBNAIL, ((row[0] + shift, row[1]) for row in pictures))
                connection.execute(
                    "UPDATE gallery SET counter = ?, forgotten = ?, generation = lower(hex(randomblob(16)))",
                    (counter + shift + 1, counter + shift + 1),
                )
                count = cursor.rowcount
    finally:
        source.close()
    return max(count, 0)
