"""The embedded gallery: a folder on this machine, and nothing else (``mien.index.gallery.embedded.folder``).

A write is acknowledged once SQLite has it on disk and the embeddings in this process's memory know it. Other processes
look for changes several times a second and before each write of their own.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mien.index.errors import FaceConflictError, GalleryError, UnknownFaceError
from mien.index.gallery.embedded.check import check_gallery
from mien.index.gallery.embedded.database import FACE, GalleryDatabase, create_database, in_parts, to_face
from mien.index.gallery.embedded.folder import DATABASE, LOCK, check_network, lock_folder
from mien.index.gallery.embedded.maintenance import GalleryUpkeep
from mien.index.gallery.embedded.memory import GalleryMemory
from mien.index.gallery.embedded.snapshots import take_snapshot, write_snapshot
from mien.index.gallery.embedded.transaction import GalleryWrite
from mien.index.gallery.face import GalleryFace
from mien.index.gallery.filters import Filter
from mien.index.gallery.store import (
    EVERYTHING,
    AddResult,
    Listing,
    Sample,
    SearchOptions,
    SearchResult,
    Statistics,
    check_limit,
    check_query,
    draw_sample,
)
from mien.index.gallery.validation import changed, check_faces, shown
from mien.index.gallery.vectors.columns import Field, fields_of
from mien.index.gallery.vectors.filtered_search import FaceHasGoneError, GallerySearch, fields_needed
from mien.index.gallery.vectors.ivf import Cells
from mien.index.gallery.vectors.policy import IndexPolicy

_FEW: Final = 2_000
"""Sequences that are sorted out one by one in place of walking through the ids."""

_ATTEMPTS: Final = 100
"""Of a search whose matches are deleted while it answers."""


class EmbeddedGallery:
    """A ``GalleryStore`` in a folder."""

    def __init__(self, folder: Path, lock: Any, policy: IndexPolicy) -> None:
        """Use ``open_embedded_gallery``."""
        self.folder = folder
        self._lock = lock
        self._database = GalleryDatabase(folder / DATABASE)
        state = self._database.state()
        self._size, self._embedder_sha256 = state.embedding_size, state.embedder_sha256
        self._memory = GalleryMemory(folder, self._database, policy)
        self._upkeep = GalleryUpkeep(self._memory, self._database)

    @property
    def remarks(self) -> Sequence[str]:
        """What an owner should know of the opening."""
        return self._memory.remarks

    @property
    def embedding_size(self) -> int:
        """D."""
        return self._size

    @property
    def embedder_sha256(self) -> str:
        """SHA-256 of the network that made every embedding."""
        return self._embedder_sha256

    @property
    def read_only(self) -> bool:
        """False."""
        return False

    @property
    def cells(self) -> Cells | None:
        """What leads through the gallery when it is searched approximately."""
        cells = self._memory.residents.view().cells
        return cells if isinstance(cells, Cells) else None

    @property
    def columns_kept(self) -> frozenset[Field]:
        """The fields that a filter finds in memory."""
        return frozenset(self._memory.residents.columns)

    def is_new(self) -> bool:
        """Whether nothing was ever written to it."""
        return self._memory.seen == 0

    def add(self, faces: Sequence[GalleryFace], *, replace: bool = False) -> AddResult:
        """See ``GalleryStore.add``."""
        check_faces(faces, self._size)
        if not faces:
            return AddResult((), (), ())
        with self._writing() as write:
            there = write.faces_with_ids([face.id for face in faces])
            unchanged = {face.id for face in faces if face.id in there and face.same_content(there[face.id])}
            taken = [face.id for face in faces if face.id in there and face.id not in unchanged]
            if taken and not replace:
                more = f" (and {len(taken) - 1} more)" if len(taken) > 1 else ""
                raise FaceConflictError(
                    f"the id {shown(taken[0])}{more} is in the gallery with other content: "
                    "ask for it to be replaced, or choose another id"
                )
            write.delete([there[face_id].sequence for face_id in taken])
            write.insert([face for face in faces if face.id not in unchanged])
            return AddResult(
                tuple(face.id for face in faces if face.id not in there),
                tuple(taken),
                tuple(face.id for face in faces if face.id in unchanged),
            )

    def get(self, face_id: str) -> GalleryFace:
        """See ``GalleryStore.get``."""
        with self._database.reading() as connection:
            return _one(connection, face_id)

    def thumbnails(self, ids: Sequence[str]) -> Mapping[str, bytes]:
        """See ``GalleryStore.thumbnails``."""
        query = "SELECT id, image FROM faces JOIN thumbnails USING (sequence) WHERE id IN "
        with self._database.reading() as connection:
            return dict(in_parts(connection, query, ids))

    def get_many(self, ids: Sequence[str]) -> Mapping[str, GalleryFace]:
        """See ``GalleryStore.get_many``."""
        query = f"SELECT {FACE} FROM faces WHERE id IN "  # noqa: S608
        with self._database.reading(moment=False) as connection:
            return {row[1]: to_face(row) for row in in_parts(connection, query, ids)}

    def update(self, face_id: str, changes: Mapping[str, Any]) -> GalleryFace:
        """See ``GalleryStore.update``."""
        with self._writing() as write:
            face = changed(_one(write.connection, face_id), changes)
            write.update(face)
            return face

    def delete(self, ids: Sequence[str]) -> tuple[str, ...]:
        """See ``GalleryStore.delete``."""
        with self._writing() as write:
            rows = in_parts(write.connection, "SELECT id, sequence FROM faces WHERE id IN ", list(dict.fromkeys(ids)))
            there = dict(rows)
            write.delete(list(there.values()))
            return tuple(face_id for face_id in dict.fromkeys(ids) if face_id in there)

    def delete_where(self, condition: Filter) -> int:
        """See ``GalleryStore.delete_where``."""
        with self._writing() as write:
            sequences = self._passing(condition)
            write.delete(sequences.tolist())
            return len(sequences)

    def search(self, queries: NDArray[np.float32], k: int, options: SearchOptions = EVERYTHING) -> SearchResult:
        """See ``GalleryStore.search``."""
        check_query(queries, k, options, self._size)
        queries = np.ascontiguousarray(queries, dtype=np.float32)
        needed = fields_needed(options, fields_of(options.filter) if options.filter is not None else set())
        for _ in range(_ATTEMPTS):
            # Read before the view: a face that comes in between is on this page at most, and on no other.
            snapshot = self._memory.seen if options.snapshot is None else options.snapshot
            view, columns = self._memory.with_columns(needed)
            search = GallerySearch(view, columns, self)
            try:
                matches = search.matches(queries, k, options)
            except FaceHasGoneError:
                self._memory.look()
                continue
            return SearchResult(matches, snapshot, search.is_exact(k, options))
        raise GalleryError(f"the memory of the gallery {self.folder} does not agree with its database")

    def listing(
        self,
        limit: int,
        *,
        after: str | None = None,
        condition: Filter | None = None,
        snapshot: int | None = None,
    ) -> Listing:
        """See ``GalleryStore.listing``."""
        check_limit(limit)
        sequences = self._passing(condition) if condition is not None else None
        with self._database.reading() as connection:
            at = self._database.state(connection).counter if snapshot is None else snapshot
            if sequences is not None and len(sequences) <= _FEW:
                rows = in_parts(connection, "SELECT id, sequence FROM faces WHERE sequence IN ", sequences.tolist())
                named = sorted((row for row in rows if after is None or row[0] > after), key=_code_points)
                chosen = [sequence for _, sequence in named if sequence <= at][: limit + 1]
            else:
                chosen = list(_walked(connection, after or "", at, sequences, limit + 1))
            faces = self._database.faces(chosen[:limit], connection)
        page = [faces[sequence] for sequence in chosen[:limit] if sequence in faces]
        return Listing(page, at, page[-1].id if len(chosen) > limit else None)

    def count(self, condition: Filter | None = None) -> int:
        """See ``GalleryStore.count``."""
        return len(self._memory.residents) if condition is None else len(self._passing(condition))

    def statistics(self) -> Statistics:
        """See ``GalleryStore.statistics``."""
        names: list[Field] = [("subject",), ("emotion",), ("label",), ("sub_class",)]
        view, columns = self._memory.with_columns(set(names))
        alive = view.alive
        subjects, emotions, labels, sub_classes = (columns[name].counts(alive) for name in names)
        subjects.pop(None, None)
        return Statistics(int(alive.sum()), len(subjects), emotions, labels, sub_classes)

    def sample(self, most: int) -> Sample:
        """See ``GalleryStore.sample``."""
        view = self._memory.residents.view()
        alive = np.flatnonzero(view.alive)
        places = alive[draw_sample(view.sequences[alive], most)]
        query = "SELECT sequence, id, label, emotion FROM faces WHERE sequence IN "
        with self._database.reading() as connection:
            rows = {row[0]: row[1:] for row in in_parts(connection, query, view.sequences[places].tolist())}
        there = [sequence in rows for sequence in view.sequences[places].tolist()]  # one may have gone meanwhile
        faces = [rows[sequence] for sequence in view.sequences[places[there]].tolist()]
        ids = [face_id for face_id, _, _ in faces]
        return Sample(
            ids, view.embeddings(places[there]), [label or emotion for _, label, emotion in faces], len(alive)
        )

    def snapshot(self, folder: Path) -> int:
        """See ``GalleryStore.snapshot``."""
        return write_snapshot(self._database, folder)

    def restore(self, folder: Path) -> int:
        """See ``GalleryStore.restore``."""
        count = take_snapshot(self._database, folder)
        self._memory.look()
        return count

    def check(self, queries: int = 200, k: int = 10) -> dict[str, Any]:
        """Compare memory with the database, and approximate search with exact; JSON values.

        Args:
            queries: faces of the gallery that are searched for.
            k: matches of each.
        """
        return check_gallery(self._memory, self._database, queries, k)

    def save(self) -> None:
        """Write the resident file, for a quick restart, unless another process is at it."""
        self._memory.save()

    def wait_for_index(self) -> None:
        """Return once no merge is wanted or under way."""
        self._upkeep.wait()

    def close(self) -> None:
        """See ``GalleryStore.close``."""
        try:
            self._upkeep.stop()
        finally:
            self._database.close()
            self._lock.close()

    # What GallerySearch asks of records.

    def faces(self, sequences: Sequence[int]) -> Mapping[int, GalleryFace]:
        """The faces with these sequence numbers, without thumbnails."""
        with self._database.reading(moment=False) as connection:
            return self._database.faces(sequences, connection)

    def ids(self, sequences: Sequence[int]) -> Mapping[int, str]:
        """Their ids."""
        with self._database.reading(moment=False) as connection:
            return dict(in_parts(connection, "SELECT sequence, id FROM faces WHERE sequence IN ", sequences))

    def with_ids(self, ids: Iterable[str]) -> Sequence[int]:
        """The sequence numbers of ids."""
        with self._database.reading(moment=False) as connection:
            return [row[0] for row in in_parts(connection, "SELECT sequence FROM faces WHERE id IN ", list(ids))]

    def with_content(self, hashes: Iterable[str]) -> Sequence[int]:
        """The sequence numbers of faces from pictures with these SHA-256."""
        query = "SELECT sequence FROM faces WHERE content_sha256 IN "
        with self._database.reading(moment=False) as connection:
            return [row[0] for row in in_parts(connection, query, list(hashes))]

    def _passing(self, condition: Filter) -> NDArray[np.int64]:
        """Sequence numbers, ascending, of the faces that pass a filter."""
        view, columns = self._memory.with_columns(fields_of(condition))
        passed: NDArray[np.int64] = view.sequences[GallerySearch(view, columns, self).passing(condition)]
        return passed

    @contextmanager
    def _writing(self) -> Iterator[GalleryWrite]:
        """A transaction that memory follows when it is durable."""
        with self._database.lock:
            with self._database.writing() as connection:
                self._memory.catch_up()
                write = GalleryWrite(connection, self._memory.seen)
                yield write
                if write.counter > self._memory.seen:
                    connection.execute("UPDATE gallery SET counter = ?", (write.counter,))
            self._memory.apply(write.inserted, write.updated, write.deleted, write.counter)
        self._upkeep.consider_merging()


def open_embedded_gallery(
    folder: Path, embedding_size: int, embedder_sha256: str, *, policy: IndexPolicy | None = None, alone: bool = False
) -> EmbeddedGallery:
    """Open the gallery of a folder, or make an empty one where there is none.

    Args:
        folder: made if it is not there.
        embedding_size: d, dimensions of the network.
        embedder_sha256: of the network whose embeddings it holds.
        policy: how it is searched.
        alone: no other process may have it open, and none may open it until it is closed.

    Raises:
        GalleryError: the folder holds something else or a gallery of another network or a newer version, cannot be
            written, or is held by another process.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise GalleryError(f"{folder} cannot be the folder of a gallery: {error.strerror}") from None
    if not (folder / DATABASE).exists() and any(path.name != LOCK for path in folder.iterdir()):
        raise GalleryError(f"{folder} holds something else than a gallery: choose an empty or a new folder")
    lock = lock_folder(folder, alone=alone)
    try:
        if not (folder / DATABASE).exists():
            create_database(folder / DATABASE, embedding_size, embedder_sha256)
        database = GalleryDatabase(folder / DATABASE)
        try:
            state = database.state()
        finally:
            database.close()
        check_network(folder, state.embedder_sha256, state.embedding_size, embedder_sha256, embedding_size)
        return EmbeddedGallery(folder, lock, policy or IndexPolicy())
    except BaseException:
        lock.close()
        raise


def _one(connection: Any, face_id: str) -> GalleryFace:
    row = connection.execute(f"SELECT {FACE} FROM faces WHERE id = ?", (face_id,)).fetchone()  # noqa: S608
    if row is None:
        raise UnknownFaceError(f"the gallery has no face with the id {shown(face_id)}")
    picture = connection.execute("SELECT image FROM thumbnails WHERE sequence = ?", (row[0],)).fetchone()
    return to_face(row, picture[0] if picture else None)


def _walked(connection: Any, after: str, snapshot: int, among: NDArray[np.int64] | None, limit: int) -> Iterator[int]:
    """Sequence numbers in the order of ids."""
    rows = connection.execute(
        "SELECT sequence FROM faces WHERE id > ? AND sequence <= ? ORDER BY id", (after, snapshot)
    )
    found = 0
    for (sequence,) in rows:
        if among is not None:
            place = int(np.searchsorted(among, sequence))
            if place == len(among) or among[place] != sequence:
                continue
        yield sequence
        found += 1
        if found == limit:
            return


def _code_points(row: tuple[str, int]) -> str:
    return row[0]
