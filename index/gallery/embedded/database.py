"""The database of an embedded gallery: one SQLite file, which holds everything that must not be lost.

    gallery     one row: the network, the dimensions, the counter, and up to where changes are dropped
    faces       by sequence number; the embedding as float32, little-endian
    thumbnails  by sequence number
    changes     what was deleted or updated, by the counter: how other processes learn of it

    set_aside   rows that cannot be served (``embedded.damage``); made when there are any

The counter grows by one with every face that is added, deleted or updated; the sequence number of a face is the counter
when it was added. A transaction ends with an fsync (WAL, ``synchronous=FULL``). What is deleted is overwritten in the
file (``secure_delete``), and ``scrub`` removes it from the write-ahead log.
"""

import os
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

from mien.index.errors import GalleryDamagedError, GalleryError, GalleryFullError
from mien.model.files import open_private

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

_SCRUB_S: Final = 0.2
"""How long ``scrub`` waits for those who are reading."""

MAX_COUNTER: Final = 2**53
"""The largest counter and sequence number: what any reader of JSON keeps whole, and more than will ever be reached."""

_FULL: Final = frozenset({sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR})
_READS: Final = frozenset({sqlite3.SQLITE_IOERR_READ, sqlite3.SQLITE_IOERR_SHORT_READ})
_DAMAGED: Final = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})


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
        to_scrub: whether the write-ahead log may have what was deleted or changed.
    """

    def __init__(self, path: Path) -> None:
        """Open a database that ``create_database`` made.

        Raises:
            GalleryError: it is missing, not of a gallery, or of a newer version.
        """
        if not path.is_file():
            raise GalleryError(f"{path.parent} is no gallery: it has no {path.name}")
        self.path = path
        self.to_scrub = True  # a process that was killed may have left something
        self._readers: queue.LifoQueue[sqlite3.Connection] = queue.LifoQueue()
        self._closed = False
        self._file = _identity(path)
        self.lock = threading.RLock()
        with translated_errors(self.path):
            self.writer = self._connect()
            try:
                check_header(self.writer, path)
            except BaseException:
                self.close()
                raise

    def state(self, connection: sqlite3.Connection | None = None) -> State:
        """The row of ``gallery``.

        Raises:
            GalleryDamagedError: it is missing, or makes no sense.
        """
        return read_state(connection or self.writer, self.path)

    def scrub(self) -> None:
        """Remove what was deleted or changed from the write-ahead log, unless somebody is reading from it.

        ``to_scrub`` says afterwards whether it is to be done again.
        """
        with self.lock, translated_errors(self.path):
            self.check_open()
            self.writer.execute(f"PRAGMA busy_timeout={int(_SCRUB_S * 1000)}")
            try:
                (busy, _, _) = self.writer.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            finally:
                self.writer.execute(f"PRAGMA busy_timeout={int(_BUSY_S * 1000)}")
            self.to_scrub = bool(busy)

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """A transaction: durable when the block ends without an error, else undone.

        Raises:
            GalleryFullError: no space is left.
            GalleryError: the database fails.
        """
        with self.lock, translated_errors(self.path):
            self.check_open()
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
        with translated_errors(self.path):
            self.check_open()
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
        with translated_errors(self.path):
            if self.writer.in_transaction:
                yield self.writer
                return
            self.writer.execute("BEGIN")
            try:
                yield self.writer
            finally:
                self.writer.execute("COMMIT")

    def check_open(self) -> None:
        """Refuse to go on if the database is closed, or its file is not there any more.

        Raises:
            GalleryError: it is.
        """
        if self._closed:
            raise GalleryError(f"the gallery {self.path.parent} is closed")
        if _identity(self.path) != self._file:  # what is written to it now would be lost with the last connection
            raise GalleryError(
                f"the gallery's database {self.path} was removed or replaced while it was open: put it back, or restart"
            )

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

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False, timeout=_BUSY_S)
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA secure_delete=ON")
        connection.execute(f"PRAGMA mmap_size={_MAPPED_BYTES}")
        return connection


def create_database(path: Path, embedding_size: int, embedder_sha256: str) -> None:
    """Create an empty database, whole or not at all; one that exists stays.

    Raises:
        GalleryError: it cannot be created.
    """
    draft = path.with_name(f"{path.name}.{uuid4().hex}.partial")
    try:
        create_private(draft)
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
    except (sqlite3.Error, OSError) as error:
        raise GalleryError(f"the gallery {path.parent} cannot be made: {error}") from None
    finally:
        draft.unlink(missing_ok=True)


@contextmanager
def translated_errors(path: Path) -> Iterator[None]:
    """Turn SQLite's errors into ``GalleryError``."""
    try:
        yield
    except sqlite3.Error as error:
        extended = getattr(error, "sqlite_errorcode", 0)
        code = extended & 0xFF
        if code in _DAMAGED or extended in _READS:
            raise GalleryDamagedError(
                f"the gallery's database {path} fails: {error}; mien gallery restore puts a snapshot in its place"
            ) from error
        if code in _FULL:
            raise GalleryFullError(f"no space is left for the gallery {path.parent}: {error}") from error
        raise GalleryError(f"the gallery's database {path} fails: {error}") from error


def check_header(connection: sqlite3.Connection, path: Path) -> None:
    """Refuse a database that is not a gallery's, or one of a newer version.

    Raises:
        GalleryError: it is.
    """
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if application != APPLICATION_ID:
        raise GalleryError(f"{path} is not the database of a gallery of mien")
    if version != FORMAT_VERSION:
        raise GalleryError(
            f"{path} has format version {version}, this version of mien reads {FORMAT_VERSION}: "
            "it was written by a newer one"
        )


def read_state(connection: sqlite3.Connection, path: Path) -> State:
    """The row of ``gallery``.

    Raises:
        GalleryDamagedError: it is missing, or makes no sense.
    """
    names = "embedder_sha256, embedding_size, generation, counter, forgotten"
    with translated_errors(path):
        row = connection.execute(f"SELECT {names} FROM gallery").fetchone()  # noqa: S608
    kinds = (str, int, str, int, int)
    if row is None or not all(map(isinstance, row, kinds)) or not 0 <= row[3] <= MAX_COUNTER:
        raise GalleryDamagedError(f"{path} is damaged: the description of the gallery in it is {row}")
    return State(*row)


def create_private(path: Path) -> None:
    """Create an empty file that only its owner can read and write."""
    os.close(open_private(str(path), os.O_CREAT | os.O_EXCL | os.O_WRONLY))


def _identity(path: Path) -> tuple[int, int] | None:
    """What tells a file from another one of its name; None if there is none."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino
