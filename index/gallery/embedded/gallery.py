"""The embedded gallery: a folder on this machine, and nothing else (``mien.index.gallery.embedded.folder``).

A write returns once SQLite has it on disk and the vectors in this process's memory have it. Other processes look for
changes several times a second, and before each write of their own.
"""

import sqlite3
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mien.index.errors import GalleryError, GalleryFullError
from mien.index.gallery.embedded.check import check_memory
from mien.index.gallery.embedded.damage import forget_passing, set_aside_damaged
from mien.index.gallery.embedded.database import GalleryDatabase, create_database
from mien.index.gallery.embedded.folder import (
    DATABASE,
    LOCK,
    RESERVE,
    VECTORS,
    keep_reserve,
    lock_folder,
    make_private,
    open_database,
    release_reserve,
)
from mien.index.gallery.embedded.maintenance import Maintenance
from mien.index.gallery.embedded.memory import GalleryMemory
from mien.index.gallery.embedded.rows import faces_by_id, faces_by_sequence, find_face, select_in
from mien.index.gallery.embedded.search import EmbeddedSearch
from mien.index.gallery.embedded.snapshots import SNAPSHOT, database_pages, restore_snapshot, write_snapshot
from mien.index.gallery.embedded.transaction import Transaction
from mien.index.gallery.face import GalleryFace
from mien.index.gallery.filters import Filter
from mien.index.gallery.results import Sample, SearchResult, Statistics, draw_sample
from mien.index.gallery.store import GalleryStore, SearchOptions
from mien.index.gallery.vectors.columns import Field, values_read
from mien.index.gallery.vectors.filtered_search import fields_needed
from mien.index.gallery.vectors.ivf import IvfIndex
from mien.index.gallery.vectors.policy import IndexPolicy

_FEW: Final = 2_000
"""Faces that are sorted by id one by one, in place of going through all ids."""

_DELETED_AT_ONCE: Final = 50
"""Faces of a deletion on a full disk; each changes a few pages, which are written to the log first."""

_CHECKED_AT_ONCE: Final = 100_000
"""Rows that are checked before a gallery is served, in about 0.3 s; of more, a thread checks them meanwhile."""


class EmbeddedGallery(GalleryStore):
    """A gallery in a folder."""

    def __init__(self, folder: Path, lock: Any, database: GalleryDatabase, policy: IndexPolicy) -> None:
        """Use ``open_embedded_gallery``."""
        self.folder = folder
        self._lock = lock
        self._database = database
        state = self._database.state()
        few = state.counter <= _CHECKED_AT_ONCE
        damaged = set_aside_damaged(database) if few else []
        self._memory = GalleryMemory(folder, self._database, policy)
        self._memory.report(damaged)
        if (others := make_private(folder)) is not None:
            self._memory.remark(others)
        keep_reserve(folder)
        self._searcher = EmbeddedSearch(self._memory, self._database)
        self._maintenance = Maintenance(self._memory, self._database, check_rows=not few)
        super().__init__(state.embedding_size, state.embedder_sha256, self._memory.remarks)

    @property
    def ivf(self) -> IvfIndex | None:
        """The approximate index, if the gallery is searched approximately."""
        ivf = self._memory.vectors.view().ivf
        return ivf if isinstance(ivf, IvfIndex) else None

    @property
    def index(self) -> str:
        return "exact" if self.ivf is None else "ivf"

    @property
    def fields_in_memory(self) -> frozenset[Field]:
        """The fields that filters read from memory."""
        return frozenset(self._memory.vectors.columns)

    def is_new(self) -> bool:
        """Whether nothing was ever written to it."""
        return self._memory.seen == 0

    def values_read(self, condition: Filter) -> int:
        return values_read(condition, self.fields_in_memory, self.count())

    def prepare(self, options: SearchOptions) -> None:
        self._memory.with_columns(fields_needed(options))

    def get_many(self, ids: Sequence[str]) -> Mapping[str, GalleryFace]:
        with self._database.reading(moment=False) as connection:
            return faces_by_id(connection, ids)

    def thumbnails(self, ids: Sequence[str]) -> Mapping[str, bytes]:
        query = "SELECT id, image FROM faces JOIN thumbnails USING (sequence) WHERE id IN "
        with self._database.reading() as connection:
            return dict(select_in(connection, query, ids))

    def pages(self) -> Iterator[list[GalleryFace]]:
        return database_pages(self._database)

    def check_open(self) -> None:
        self._database.check_open()

    def delete(self, ids: Sequence[str]) -> tuple[str, ...]:
        """See ``GalleryStore.delete``. On a full disk, faces are deleted some at a time, in the space that is kept."""
        try:
            deleted = super().delete(ids)
        except GalleryFullError:
            release_reserve(self.folder)
            deleted = ()
            for start in range(0, len(ids), _DELETED_AT_ONCE):
                deleted += super().delete(ids[start : start + _DELETED_AT_ONCE])
                self._database.scrub()
        self._finish_deletion()
        return deleted

    def delete_where(self, condition: Filter) -> int:
        """See ``GalleryStore.delete_where``, and ``delete`` about a full disk."""
        self._searcher.passing(condition)  # reads what it needs while others write
        try:
            count = self._delete_passing(condition)
        except GalleryFullError:
            release_reserve(self.folder)
            count = 0
            while some := self._delete_passing(condition, _DELETED_AT_ONCE):
                count += some
                self._database.scrub()
        self._finish_deletion()
        return count

    def count(self, condition: Filter | None = None) -> int:
        return len(self._memory.vectors) if condition is None else len(self._searcher.passing(condition))

    def statistics(self) -> Statistics:
        names: list[Field] = [("subject",), ("emotion",), ("label",), ("sub_class",)]
        view, columns = self._memory.with_columns(set(names))
        subjects, emotions, labels, sub_classes = (columns[name].counts(view.alive) for name in names)
        subjects.pop(None, None)
        return Statistics(int(view.alive.sum()), len(subjects), emotions, labels, sub_classes)

    def sample(self, size: int) -> Sample:
        view = self._memory.vectors.view()
        alive = np.flatnonzero(view.alive)
        positions = alive[draw_sample(view.sequences[alive], size)]
        sequences = view.sequences[positions].tolist()
        query = "SELECT sequence, id, label, emotion FROM faces WHERE sequence IN "
        with self._database.reading() as connection:
            rows = {row[0]: row[1:] for row in select_in(connection, query, sequences)}
        stored = [sequence in rows for sequence in sequences]  # a face may have been deleted meanwhile
        faces = [rows[sequence] for sequence in sequences if sequence in rows]
        return Sample(
            [face_id for face_id, _, _ in faces],
            view.embeddings(positions[stored]),
            [label or emotion for _, label, emotion in faces],
            len(alive),
        )

    def snapshot(self, folder: Path) -> int:
        self._memory.set_aside_damaged()
        return write_snapshot(self._database, folder)

    def restore(self, folder: Path) -> int:
        count = restore_snapshot(self._database, folder)
        self._memory.refresh()
        self._memory.file_has_deleted = (self.folder / VECTORS).exists()
        self._database.scrub()
        return count

    def save(self) -> None:
        """Write the vectors file, for a quick restart, unless another process is writing it."""
        self._memory.save()

    def wait_for_index(self) -> None:
        """Return once no merge is needed or running."""
        self._maintenance.wait()

    def close(self) -> None:
        try:
            self._maintenance.stop()
        finally:
            self._database.close()
            self._lock.close()

    @contextmanager
    def _write(self, ids: Collection[str] = ()) -> Iterator[Transaction]:  # noqa: ARG002 - one write at a time
        with self._database.lock:
            with self._database.writing() as connection:
                self._memory.catch_up()
                write = Transaction(connection, self._memory.seen)
                yield write
                if write.counter > self._memory.seen:
                    connection.execute("UPDATE gallery SET counter = ?", (write.counter,))
            self._memory.apply(write.inserted, write.updated, write.deleted, write.counter)
            self._database.to_scrub |= bool(write.updated or write.deleted)
            self._memory.file_has_deleted |= bool(write.deleted) and (self.folder / VECTORS).exists()
        self._maintenance.consider_merging()

    def _delete_passing(self, condition: Filter, limit: int | None = None) -> int:
        with self._memory.columns_lock, self._write() as write:
            sequences = self._searcher.passing(condition)[:limit].tolist()
            write.delete_sequences(sequences)
            return len(sequences) + forget_passing(self._database.writer, condition)

    def _finish_deletion(self) -> None:
        """Remove what was deleted from the write-ahead log, and keep space for the next deletion."""
        self._database.scrub()
        keep_reserve(self.folder)

    def _check_storage(self, *, thorough: bool) -> dict[str, Any]:
        self._memory.set_aside_damaged()
        self.wait_for_index()
        lists = {} if self.ivf is None else {"nlist": self.ivf.nlist, "nprobe": self.ivf.nprobe}
        return {"index": self.index} | check_memory(self._memory, self._database, thorough=thorough) | lists

    def _find(self, face_id: str) -> GalleryFace | None:
        with self._database.reading() as connection:
            return find_face(connection, face_id)

    def _search(self, queries: NDArray[np.float32], k: int, options: SearchOptions) -> SearchResult:
        return self._searcher.search(queries, k, options)

    def _list(
        self, limit: int, after: str | None, condition: Filter | None, snapshot: int | None
    ) -> tuple[list[GalleryFace], int]:
        passing = self._searcher.passing(condition) if condition is not None else None
        with self._database.reading() as connection:
            if snapshot is None:
                snapshot = self._database.state(connection).counter
            if passing is not None and len(passing) <= _FEW:
                rows = select_in(connection, "SELECT id, sequence FROM faces WHERE sequence IN ", passing.tolist())
                following = sorted(row for row in rows if after is None or row[0] > after)
                sequences = [sequence for _, sequence in following if sequence <= snapshot][:limit]
            else:
                sequences = _sequences_by_id(connection, after or "", snapshot, passing, limit)
            faces = faces_by_sequence(connection, sequences)
        return [faces[sequence] for sequence in sequences], snapshot


def open_embedded_gallery(
    folder: Path, embedding_size: int, embedder_sha256: str, *, policy: IndexPolicy | None = None, alone: bool = False
) -> EmbeddedGallery:
    """Open the gallery of a folder, or create an empty one.

    Args:
        folder: created if it does not exist.
        embedding_size: d, dimensions of the network.
        embedder_sha256: of the network whose embeddings it holds.
        policy: how it is searched.
        alone: no other process may have it open, and none may open it until it is closed.

    Raises:
        GalleryError: the folder holds something else or a gallery of another network or a newer version, is not
            writable, or is locked by another process.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise GalleryError(f"{folder} cannot be the folder of a gallery: {error.strerror}") from None
    if not (folder / DATABASE).exists() and any(not _is_of_new_gallery(path.name) for path in folder.iterdir()):
        raise GalleryError(f"{folder} holds something else than a gallery: choose an empty or a new folder")
    if (folder / SNAPSHOT).exists():
        raise GalleryError(f"{folder} is a snapshot, which stays as it is: restore it into a gallery")
    lock = lock_folder(folder, alone=alone)
    try:
        if not (folder / DATABASE).exists():
            create_database(folder / DATABASE, embedding_size, embedder_sha256)
        database = open_database(folder, embedding_size, embedder_sha256)
        try:
            return EmbeddedGallery(folder, lock, database, policy or IndexPolicy())
        except BaseException:
            database.close()
            raise
    except BaseException:
        lock.close()
        raise


def _is_of_new_gallery(name: str) -> bool:
    """Whether a file may be in the folder of a gallery that is being made: another process may be making it now."""
    return name in (LOCK, RESERVE) or name.startswith(f"{DATABASE}.")


def _sequences_by_id(
    connection: sqlite3.Connection, after: str, snapshot: int, among: NDArray[np.int64] | None, limit: int
) -> list[int]:
    """Sequence numbers of up to ``limit`` faces, in the order of ids, ``among`` some ascending ones."""
    rows = connection.execute(
        "SELECT sequence FROM faces WHERE id > ? AND sequence <= ? ORDER BY id", (after, snapshot)
    )
    sequences: list[int] = []
    for (sequence,) in rows:
        if among is not None:
            place = int(np.searchsorted(among, sequence))
            if place == len(among) or among[place] != sequence:
                continue
        sequences.append(sequence)
        if len(sequences) == limit:
            break
    return sequences
