"""The database of an embedded gallery: one SQLite file, which holds everything that must not be lost.

    gallery     one row: the network, the dimensions, the counter, and up to where changes are dropped
    faces       by sequence number; the embedding as float32, little-endian
    thumbnails  by sequence number
    changes     what was deleted or updated, by the counter: how other processes learn of it

The counter grows by one with every face that is added, deleted or updated; the sequence number of a face is the counter
when it was added. A transaction ends with an fsync (WAL, ``synchronous=FULL``).
"""

import queue
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final
from uuid import uuid4

from mien.index.errors import GalleryError, GalleryFullError

APPLICATION_ID: Final = 0x6D69656E
"""``mien``, in the header of the file: tells a gallery from any other SQLite database."""

FORMAT_VERSION: Final = 1
"""Version of the tables; a gallery of a newer one is refused."""

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

_MAPPED_BYTES: Final = 2**40
"""Pages are read where the file is mapped into memory: ten faces of a million in a tenth of the time that copying their
pages takes. SQLite maps as much of this as it was built to, mostly 2 GiB, and copies the rest."""

_BUSY_S: Final = 30.0

_FULL: Final = frozenset({sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR})


@dataclass(frozen=True)
class State:
    """The row of ``gallery``.

    Attributes:
        embedder_sha256: of the network.
        embedding_size: d.
        generation: differs after all faces were replaced at once.
        counter: its value.
        forgotten: changes up to this number are dropped.
    """

    embedder_sha256: str
    embedding_size: int
    generation: str
    counter: int
    forgotten: int


class GalleryDatabase:
    """Connections to the file: one that writes, and as many that read as there are readers.

    Attributes:
        path: of the file.
        lock: held while this process writes to the database or to the vectors in memory.
        writer: the connection that writes.
    """

    def __init__(self, path: Path) -> None:
        """Open a database that ``create_database`` made.

        Raises:
            GalleryError: it is missing, not of a gallery, or of a newer version.
        """
        if not path.is_file():
            raise GalleryError(f"{path.parent} is no gallery: it has no {path.name}")
        self.path = path
        self._readers: queue.LifoQueue[sqlite3.Connection] = queue.LifoQueue()
        self._closed = False
        self.lock = threading.RLock()
        with self.translated_errors():
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
        """A transaction: durable when the block ends without an error, else undone.

        Raises:
            GalleryFullError: no space is left.
            GalleryError: the database fails.
        """
        with self.lock, self.translated_errors():
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
        """A connection; with ``moment``, everything read through it is of one moment of the database.

        Raises:
            GalleryError: the database fails.
        """
        with self.translated_errors():
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
    def reading_with_writer(self) -> Iterator[sqlite3.Connection]:
        """The connection that writes, for reads of one moment; within a transaction they are already."""
        with self.translated_errors():
            if self.writer.in_transaction:
                yield self.writer
                return
            self.writer.execute("BEGIN")
            try:
                yield self.writer
            finally:
                self.writer.execute("COMMIT")

    @contextmanager
    def translated_errors(self) -> Iterator[None]:
        """Turn SQLite's errors into ``GalleryError``."""
        try:
            yield
        except sqlite3.Error as error:
            code = getattr(error, "sqlite_errorcode", 0) & 0xFF
            if code in _FULL:
                raise GalleryFullError(f"no space is left for the gallery {self.path.parent}: {error}") from error
            raise GalleryError(f"the gallery's database {self.path} fails: {error}") from error

    def close(self) -> None:
        """Close all connections; those in use close when they are returned."""
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
    """Create an empty database, whole or not at all; one that exists stays.

    Raises:
        GalleryError: it cannot be created.
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
            path.hardlink_to(draft)  # of two processes that create it at once, the first wins
    except sqlite3.Error as error:
        raise GalleryError(f"the gallery {path.parent} cannot be made: {error}") from None
    finally:
        draft.unlink(missing_ok=True)
