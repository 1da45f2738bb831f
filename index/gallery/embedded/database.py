"""The database of an embedded gallery: one SQLite file, the durable truth.

    gallery     one row: of which network and dimensions, the counter, how far changes were forgotten
    faces       by sequence number; the embedding as float32, little-endian
    thumbnails  by sequence number
    changes     what was deleted or updated, by the counter: how other processes learn of it

The counter goes up by one with every face that is added, deleted or updated; a face's sequence number is the counter's
value when it came. A transaction ends in an fsync (WAL, ``synchronous=FULL``).
"""

import json
import queue
import re
import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray

from mien.index.errors import GalleryError, GalleryFullError
from mien.index.gallery.face import GalleryFace
from mien.index.gallery.store import FORMAT_VERSION
from mien.index.gallery.validation import json_text
from mien.index.gallery.vectors.columns import nested

APPLICATION_ID: Final = 0x6D69656E
"""``mien``, in the header of the file: what tells a gallery from any other SQLite database."""

_SCHEMA: Final = """
CREATE TABLE gallery (
    embedder_sha256 TEXT NOT NULL, embedding_size INTEGER NOT NULL, created TEXT NOT NULL,
    generation TEXT NOT NULL, counter INTEGER NOT NULL, forgotten INTEGER NOT NULL);
CREATE TABLE faces (
    sequence INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, embedding BLOB NOT NULL, label TEXT, emotion TEXT,
    sub_class TEXT, subject TEXT, metadata TEXT NOT NULL, content_sha256 TEXT, time REAL NOT NULL);
CREATE INDEX faces_by_content ON faces (content_sha256) WHERE content_sha256 IS NOT NULL;
CREATE TABLE thumbnails (sequence INTEGER PRIMARY KEY, image BLOB NOT NULL);
CREATE TABLE changes (number INTEGER PRIMARY KEY, sequence INTEGER NOT NULL, gone INTEGER NOT NULL);
"""

FACE: Final = "sequence, id, embedding, label, emotion, sub_class, subject, metadata, content_sha256, time"
"""The columns that ``to_face`` reads."""

INSERT_FACE: Final = "INSERT INTO faces VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
INSERT_THUMBNAIL: Final = "INSERT INTO thumbnails VALUES (?, ?)"

_AT_ONCE: Final = 5000
"""Values of one IN."""

_MAPPED_BYTES: Final = 2**40
"""Pages are read where the file is mapped into memory: ten faces of a million in a tenth of the time that copying their
pages takes. SQLite maps as much of this as it was built to, 2 GiB mostly, and copies the rest."""

_ROWS_AT_ONCE: Final = 65_536

_PLAIN_KEY: Final = re.compile(r'[^"\\\x00-\x1f\ud800-\udfff]+')
"""A key of metadata that stands in the database as it is, so that SQLite finds it."""

_BUSY_S: Final = 30.0
_LITTLE_ENDIAN: Final = np.dtype("<f4")
_JSON: Final[Callable[[str, int], tuple[Any, int]]] = json.JSONDecoder().scan_once  # type: ignore[attr-defined]
"""Reads a JSON value at a place of a text; what is in the database was checked when it came."""

_FULL: Final = frozenset({sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR})


@dataclass(frozen=True)
class State:
    """The row of ``gallery``.

    Attributes:
        embedder_sha256: of the network.
        embedding_size: d.
        generation: another one after everything was replaced at once.
        counter: its value.
        forgotten: changes up to this number are not kept.
    """

    embedder_sha256: str
    embedding_size: int
    generation: str
    counter: int
    forgotten: int


class GalleryDatabase:
    """Connections to the file: one that writes, and as many that read as there are readers."""

    def __init__(self, path: Path) -> None:
        """Open a database that ``create_database`` made.

        Raises:
            GalleryError: it is missing, no gallery, or of a newer version.
        """
        if not path.is_file():
            raise GalleryError(f"{path.parent} is no gallery: it has no {path.name}")
        self.path = path
        self._readers: queue.LifoQueue[sqlite3.Connection] = queue.LifoQueue()
        self._all: list[sqlite3.Connection] = []
        self._closed = False
        self.lock = threading.RLock()
        with self.said():
            self.writer = self._connect()
            (application,) = self.writer.execute("PRAGMA application_id").fetchone()
            (version,) = self.writer.execute("PRAGMA user_version").fetchone()
            if application != APPLICATION_ID:
                self.close()
                raise GalleryError(f"{path} is not the database of a gallery of mien")
            if version != FORMAT_VERSION:
                self.close()
                raise GalleryError(
                    f"{path} has format version {version}, this version of mien reads {FORMAT_VERSION}: "
                    "it was written by a newer one"
                )

    def state(self, connection: sqlite3.Connection | None = None) -> State:
        """The row of ``gallery``."""
        names = "embedder_sha256, embedding_size, generation, counter, forgotten"
        row = (connection or self.writer).execute(f"SELECT {names} FROM gallery").fetchone()  # noqa: S608
        return State(*row)

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """A transaction; when the block ends well, it is durable, else as if it had not been.

        Raises:
            GalleryFullError: no space is left.
            GalleryError: the database fails.
        """
        with self.lock, self.said():
            self._check_open()
            self.writer.execute("BEGIN IMMEDIATE")
            try:
                yield self.writer
                self.writer.execute("COMMIT")
            except BaseException:
                if self.writer.in_transaction:
                    self.writer.execute("ROLLBACK")
                raise

    @contextmanager
    def reading(self, *, moment: bool = True) -> Iterator[sqlite3.Connection]:
        """A connection; with ``moment``, all that is read through it is of one moment of the database.

        Raises:
            GalleryError: the database fails.
        """
        with self.said():
            self._check_open()
            try:
                connection = self._readers.get_nowait()
            except queue.Empty:
                connection = self._connect()
            try:
                if moment:
                    connection.execute("BEGIN")
                yield connection
            finally:
                if connection.in_transaction:
                    connection.execute("COMMIT")
                if self._closed:
                    connection.close()
                else:
                    self._readers.put(connection)

    @contextmanager
    def said(self) -> Iterator[None]:
        """SQLite's errors as errors of a gallery."""
        try:
            yield
        except sqlite3.Error as error:
            code = getattr(error, "sqlite_errorcode", 0) & 0xFF
            if code in _FULL:
                raise GalleryFullError(f"no space is left for the gallery {self.path.parent}: {error}") from error
            raise GalleryError(f"the gallery's database {self.path} fails: {error}") from error

    def faces(self, sequences: Sequence[int], connection: sqlite3.Connection) -> dict[int, GalleryFace]:
        """The faces with these sequence numbers, those that are there."""
        rows = in_parts(connection, f"SELECT {FACE} FROM faces WHERE sequence IN ", sequences)  # noqa: S608
        return {row[0]: to_face(row) for row in rows}

    def close(self) -> None:
        """Close all connections; those in use close when they are given back."""
        with self.lock:
            self._closed = True
            while True:
                try:
                    self._readers.get_nowait().close()
                except queue.Empty:
                    break
            self.writer.close()

    def _check_open(self) -> None:
        if self._closed:
            raise GalleryError(f"the gallery {self.path.parent} is closed")

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False, timeout=_BUSY_S)
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA secure_delete=FAST")
        connection.execute(f"PRAGMA mmap_size={_MAPPED_BYTES}")
        return connection


def create_database(path: Path, embedding_size: int, embedder_sha256: str) -> None:
    """Make an empty database, whole or not at all; what is there already stays.

    Raises:
        GalleryFullError: no space is left.
        GalleryError: it cannot be made.
    """
    draft = path.with_name(f"{path.name}.{uuid4().hex}.partial")
    try:
        connection = sqlite3.connect(draft, isolation_level=None)
        try:
            connection.executescript(_SCHEMA)
            connection.execute(f"PRAGMA application_id={APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version={FORMAT_VERSION}")
            row = (embedder_sha256, embedding_size, datetime.now(UTC).isoformat(timespec="seconds"), uuid4().hex)
            connection.execute("INSERT INTO gallery VALUES (?, ?, ?, ?, 0, 0)", row)
        finally:
            connection.close()
        with suppress(FileExistsError):
            path.hardlink_to(draft)  # of two processes that create it at once, the first has it
    except sqlite3.Error as error:
        raise GalleryError(f"the gallery {path.parent} cannot be made: {error}") from None
    finally:
        draft.unlink(missing_ok=True)


def insert_faces(connection: sqlite3.Connection, faces: Sequence[GalleryFace]) -> None:
    """Insert faces that have their sequence numbers."""
    connection.executemany(INSERT_FACE, map(to_row, faces))
    pictures = [(face.sequence, face.thumbnail) for face in faces if face.thumbnail is not None]
    connection.executemany(INSERT_THUMBNAIL, pictures)


def delete_faces(connection: sqlite3.Connection, sequences: Sequence[int]) -> None:
    """Delete faces and their thumbnails."""
    for table in ("faces", "thumbnails"):
        connection.executemany(f"DELETE FROM {table} WHERE sequence = ?", [(each,) for each in sequences])  # noqa: S608


def in_parts(connection: sqlite3.Connection, query: str, values: Sequence[Any]) -> Iterator[tuple[Any, ...]]:
    """The rows of ``query`` with IN and many values."""
    for start in range(0, len(values), _AT_ONCE):
        part = values[start : start + _AT_ONCE]
        yield from connection.execute(f"{query}({','.join('?' * len(part))})", part)


def to_row(face: GalleryFace) -> tuple[Any, ...]:
    """A face as the columns of ``FACE``."""
    return (
        face.sequence,
        face.id,
        face.embedding.astype("<f4").tobytes(),
        face.label,
        face.emotion,
        face.sub_class,
        face.subject,
        json_text(face.metadata),
        face.content_sha256,
        face.time,
    )


def to_face(row: Sequence[Any], thumbnail: bytes | None = None) -> GalleryFace:
    """A face out of the columns of ``FACE``."""
    sequence, face_id, embedding, label, emotion, sub_class, subject, metadata, content_sha256, time = row
    return GalleryFace(
        face_id,
        np.frombuffer(embedding, _LITTLE_ENDIAN).astype(np.float32, copy=False),
        label,
        emotion,
        sub_class,
        subject,
        _JSON(metadata, 0)[0],
        content_sha256,
        time,
        thumbnail,
        sequence,
    )


def embeddings_of(blobs: Iterable[bytes], size: int) -> NDArray[np.float32]:
    """(n, d) embeddings out of their column; may be written into."""
    flat = np.frombuffer(bytearray().join(blobs), dtype="<f4")
    return flat.astype(np.float32, copy=False).reshape(-1, size)


def values_of(connection: sqlite3.Connection, field: tuple[str, ...]) -> Iterator[tuple[NDArray[np.int64], list[Any]]]:
    """One field of all faces, block by block: sequence numbers (ascending), and values.

    Args:
        connection: to read with.
        field: as in a filter.
    """
    name, *path = field  # the name is one of a filter's fields, never what a user wrote
    in_sql = name == "metadata" and all(map(_PLAIN_KEY.fullmatch, path))
    what = "metadata -> ?" if in_sql else name
    place = ["$" + "".join(f'."{key}"' for key in path)] if in_sql else []
    rows = connection.execute(f"SELECT sequence, {what} FROM faces ORDER BY sequence", place)  # noqa: S608
    while block := rows.fetchmany(_ROWS_AT_ONCE):
        values: list[Any] = [row[1] for row in block]
        if in_sql:
            values = json.loads(f"[{','.join('null' if value is None else value for value in values)}]")
        elif name == "metadata":
            values = [nested(json.loads(value), path) for value in values]
        yield np.array([row[0] for row in block], dtype=np.int64), values
