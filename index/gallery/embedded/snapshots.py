"""Snapshots of an embedded gallery: its database at one moment, written to a folder and read back whole.

    gallery.sqlite   the database
    snapshot.json    its SHA-256, size, number of faces and network; snapshots of before have none

Both are on disk when the folder gets its name, and nothing writes to them any more: a snapshot is read with SQLite's
``immutable``, and opened as a gallery by nobody.
"""

import json
import os
import shutil
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from mien.index.errors import GalleryError
from mien.index.gallery.embedded.damage import find_damaged, forget_all_set_aside
from mien.index.gallery.embedded.database import (
    GalleryDatabase,
    check_header,
    create_private,
    read_state,
    translated_errors,
)
from mien.index.gallery.embedded.folder import DATABASE, LOCK
from mien.index.gallery.embedded.rows import FACE, INSERT_FACE, INSERT_THUMBNAIL, READ_FACE, to_face
from mien.index.gallery.face import GalleryFace
from mien.index.gallery.validation import check_network, excerpt
from mien.model.files import sha256_of, write_atomically

SNAPSHOT: Final = "snapshot.json"
FORMAT_VERSION: Final = 1

_PAGE: Final = 500
_THUMBNAIL: Final = "(SELECT image FROM thumbnails WHERE thumbnails.sequence = faces.sequence)"


def write_snapshot(database: GalleryDatabase, folder: Path) -> int:
    """Write all faces of this moment to a new folder, while others read and write; returns how many there are.

    Raises:
        GalleryError: the folder exists already, or cannot be written.
    """
    with new_snapshot(folder) as draft:
        create_private(draft / DATABASE)
        with database.reading(moment=False) as connection:  # VACUUM INTO begins its own transaction
            connection.execute("VACUUM INTO ?", (str(draft / DATABASE),))
    return int(read_description(folder)["faces"])


@contextmanager
def new_snapshot(folder: Path) -> Iterator[Path]:
    """Make a snapshot of the database that the block writes to the folder it is given, whole or not at all.

    Raises:
        GalleryError: the folder exists already, or cannot be written.
    """
    if folder.exists():
        raise GalleryError(f"{folder} exists already: a snapshot must be written to a new folder")
    draft = folder.with_name(f"{folder.name}.partial")
    try:
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(parents=True, mode=0o700)
        yield draft
        _seal(draft)
        draft.rename(folder)
        _fsync(folder.parent)
    except OSError as error:
        raise GalleryError(f"{folder} cannot be written: {error.strerror}") from None
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def restore_snapshot(database: GalleryDatabase, folder: Path) -> int:
    """Replace all faces by those of a snapshot, or change nothing; returns how many there are.

    Raises:
        GalleryError: the folder holds no snapshot, a damaged one, one of a newer version, or of another network.
    """
    wanted = database.state()
    with (
        open_snapshot(folder, wanted.embedding_size, wanted.embedder_sha256) as snapshot,
        database.writing() as connection,
    ):
        shift = database.state().counter  # restored faces are newer than every snapshot number in use
        for table in ("faces", "thumbnails", "changes"):
            connection.execute(f"DELETE FROM {table}")  # noqa: S608
        forget_all_set_aside(connection)
        count = 0
        rows = snapshot.connection.execute(f"SELECT {FACE}, {_THUMBNAIL} FROM faces ORDER BY sequence")  # noqa: S608
        while page := rows.fetchmany(_PAGE):
            numbers = range(shift + count + 1, shift + count + len(page) + 1)
            faces = [(number, *row[1:-1]) for number, row in zip(numbers, page, strict=True)]
            pictures = [(number, row[-1]) for number, row in zip(numbers, page, strict=True) if row[-1] is not None]
            connection.executemany(INSERT_FACE, faces)
            connection.executemany(INSERT_THUMBNAIL, pictures)
            count += len(page)
        if count != snapshot.faces:
            raise GalleryError(f"{folder} must have {snapshot.faces} faces, got {count}")
        connection.execute(
            "UPDATE gallery SET counter = ?, forgotten = ?, generation = lower(hex(randomblob(16)))",
            (shift + count + 1, shift + count + 1),
        )
        return count


@dataclass(frozen=True)
class Snapshot:
    """A snapshot whose files and rows were checked.

    Attributes:
        connection: to its database, read-only.
        faces: how many it has.
    """

    connection: sqlite3.Connection
    faces: int

    def pages(self) -> Iterator[list[GalleryFace]]:
        """All faces by id, with thumbnails, a page at a time."""
        return _pages(self.connection)


@contextmanager
def open_snapshot(folder: Path, embedding_size: int, embedder_sha256: str) -> Iterator[Snapshot]:
    """Open a snapshot, or the folder of a gallery, which others may have open, as it is at this moment.

    Its digest is compared where it has one, and each row is checked.

    Raises:
        GalleryError: the folder holds no snapshot, a damaged one, one of a newer version, or of another network.
    """
    path = folder / DATABASE
    if not path.is_file():
        raise GalleryError(f"{folder} is no gallery or snapshot: it has no {DATABASE}")
    description = read_description(folder) if (folder / SNAPSHOT).exists() else None
    if description is not None:
        _check_digest(path, description)
    with translated_errors(path), closing(_connect_read_only(path)) as connection:
        connection.execute("BEGIN")
        check_header(connection, path)
        state = read_state(connection, path)
        found = (state.embedder_sha256, state.embedding_size)
        check_network(folder, found, (embedder_sha256, embedding_size))
        (structure,) = connection.execute(
            f"PRAGMA {'integrity' if description is None else 'quick'}_check(1)"
        ).fetchone()
        if structure != "ok":
            raise GalleryError(f"{path} is damaged: {structure}")
        _check_length(connection, path)
        for row in find_damaged(connection, embedding_size):
            raise GalleryError(f"{path} is damaged: the face {excerpt(row.id)} cannot be served, {row.fault}")
        count, last = connection.execute("SELECT count(*), max(sequence) FROM faces").fetchone()
        if last is not None and last > state.counter:
            raise GalleryError(f"{path} is damaged: its counter must be at least {last}, got {state.counter}")
        if description is not None and description["faces"] != count:
            raise GalleryError(f"{folder} must have {description['faces']} faces, got {count}")
        yield Snapshot(connection, count)


def read_description(folder: Path) -> Mapping[str, Any]:
    """What ``snapshot.json`` says.

    Raises:
        GalleryError: it is broken, or of a newer version.
    """
    path = folder / SNAPSHOT
    try:
        description = json.loads(path.read_bytes())
        if description["format_version"] != FORMAT_VERSION:
            raise GalleryError(f"{path} has format version {description['format_version']}, expected {FORMAT_VERSION}")
        if not isinstance(description["faces"], int) or not isinstance(description["sha256"], str):
            raise GalleryError(f"{path} is broken: it must have a number of faces and a SHA-256")
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise GalleryError(f"{path} is broken: {error}") from None
    return dict(description)


def database_pages(database: GalleryDatabase) -> Iterator[list[GalleryFace]]:
    """All faces of a database at one moment, by id, with thumbnails, a page at a time."""
    with database.reading() as connection:
        yield from _pages(connection)


def _pages(connection: sqlite3.Connection) -> Iterator[list[GalleryFace]]:
    rows = connection.execute(f"SELECT {READ_FACE}, {_THUMBNAIL} FROM faces ORDER BY id")  # noqa: S608
    while page := rows.fetchmany(_PAGE):
        yield [to_face(row[:-1], row[-1]) for row in page]


def _seal(folder: Path) -> None:
    """Describe a database that is complete, and write both to disk."""
    path = folder / DATABASE
    with translated_errors(path), closing(_connect_read_only(path)) as connection:
        state = read_state(connection, path)
        (count,) = connection.execute("SELECT count(*) FROM faces").fetchone()
    _fsync(path)
    description = {
        "format_version": FORMAT_VERSION,
        "faces": count,
        "bytes": path.stat().st_size,
        "sha256": sha256_of(path),
        "embedder_sha256": state.embedder_sha256,
        "embedding_size": state.embedding_size,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "mien_version": version("mien"),
    }
    with write_atomically(folder / SNAPSHOT, private=True) as file:
        file.write(json.dumps(description, indent=2).encode() + b"\n")
    _fsync(folder)


def _check_digest(path: Path, description: Mapping[str, Any]) -> None:
    found = sha256_of(path)
    if found != description["sha256"]:
        raise GalleryError(
            f"{path} is not as it was written: its SHA-256 is {found[:12]}…, {SNAPSHOT} says "
            f"{description['sha256'][:12]}… ({path.stat().st_size} bytes, {description.get('bytes')} were written)"
        )


def _check_length(connection: sqlite3.Connection, path: Path) -> None:
    """Refuse a file that lost its end, which SQLite takes for zeros."""
    (pages,), (size,) = (connection.execute(f"PRAGMA {name}").fetchone() for name in ("page_count", "page_size"))
    if not _is_alive(path) and path.stat().st_size != pages * size:
        raise GalleryError(f"{path} is damaged: it must have {pages * size} bytes, got {path.stat().st_size}")


def _is_alive(path: Path) -> bool:
    """Whether a database may be that of a gallery, to which others write, and not that of a snapshot."""
    log = path.with_name(f"{path.name}-wal")
    return (path.parent / LOCK).exists() or (log.exists() and log.stat().st_size > 0)


def _connect_read_only(path: Path) -> sqlite3.Connection:
    """A connection that writes nothing, and looks for no other files where nobody else can be writing."""
    options = "mode=ro" if _is_alive(path) else "mode=ro&immutable=1"
    return sqlite3.connect(
        f"{path.resolve().as_uri()}?{options}", uri=True, isolation_level=None, check_same_thread=False
    )


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
