"""The embedded gallery: a folder on this machine, and nothing else.

    gallery.sqlite   the durable truth (``index.gallery_database``)
    residents        embeddings as they lie in memory, for a quick restart (``index.resident_file``)
    cells.npz        which cell each face is in, where the gallery is searched by cells (``index.cells_file``)
    lock             held shared by every process that has the gallery open, or alone by one that changes its form

A write is acknowledged once SQLite has it on disk and the embeddings in this process's memory know it. Other processes
look for changes several times a second and before each write of their own.
"""

import fcntl
import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from index.cells import Cells
from index.cells_file import CellsImage, read_cells, write_cells
from index.columns import Column, Field, fields_of, nested
from index.filters import Filter, value_of
from index.gallery_database import (
    FACE,
    INSERT_FACE,
    INSERT_THUMBNAIL,
    GalleryDatabase,
    create_database,
    delete_faces,
    embeddings_of,
    in_parts,
    insert_faces,
    plain_values,
    to_face,
    to_row,
)
from index.gallery_sample import Sample, drawn
from index.gallery_search import FaceHasGoneError, GallerySearch, fields_needed
from index.gallery_store import (
    EVERYTHING,
    Added,
    GalleryFace,
    Listing,
    SearchOptions,
    SearchResult,
    Statistics,
    changed,
    check_faces,
    check_limit,
    check_query,
    shown,
)
from index.resident import Leading, Residents
from index.resident_file import ResidentImage, read_residents, write_residents
from model.errors import FaceConflictError, GalleryError, UnknownFaceError

DATABASE: Final = "gallery.sqlite"
RESIDENTS: Final = "residents"
CELLS: Final = "cells.npz"
LOCK: Final = "lock"

EXACT_UP_TO: Final = 100_000
"""Faces that ``auto`` searches exactly: one millisecond on one core."""

_POLL_S: Final = 0.2
_CHANGES_KEPT: Final = 10_000
_FEW: Final = 2_000
"""Sequences that are sorted out one by one in place of walking through the ids."""

_BLOCK: Final = 10_000
_INDEX_ENDS_S: Final = 5.0
_ATTEMPTS: Final = 100
"""Of a search whose matches are deleted while it answers."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class IndexPolicy:
    """How a gallery is searched.

    Attributes:
        kind: ``exact``; ``cells`` (approximate); or ``auto``, which goes over to cells when exact search gets slow.
        exact_up_to: faces that ``auto`` searches exactly.
        tail: faces that may stand behind the base before they are merged into it, at least.
        tail_share: the same, as a share of the base.
        to_device: copies a base to a GPU, where it is then searched exactly (``index.device``); None is the CPU.
    """

    kind: str = "auto"
    exact_up_to: int = EXACT_UP_TO
    tail: int = 5_000
    tail_share: float = 0.1
    to_device: Callable[[NDArray[np.float32]], Leading | None] | None = None

    def wants_cells(self, faces: int) -> bool:
        """Whether so many faces are searched by cells."""
        return (self.kind == "cells" and faces >= 1000) or (self.kind == "auto" and faces > self.exact_up_to)


class EmbeddedGallery:
    """A ``GalleryStore`` in a folder."""

    def __init__(self, folder: Path, lock: Any, policy: IndexPolicy) -> None:
        """Use ``open_gallery``."""
        self.folder = folder
        self.policy = policy
        self.remarks: list[str] = []
        self._lock = lock
        self._database = GalleryDatabase(folder / DATABASE)
        state = self._database.state()
        self._size, self._embedder_sha256 = state.embedding_size, state.embedder_sha256
        self._residents, self._seen, self._generation = self._loaded()
        self._saved = self._seen
        self._merging = threading.Lock()
        self._stopping = threading.Event()
        self._merge_wanted = threading.Event()
        self._catch_up()
        self._threads = [
            threading.Thread(target=self._follow, daemon=True, name="gallery changes"),
            threading.Thread(target=self._keep_merged, daemon=True, name="gallery index"),
        ]
        self._consider_merging()
        for thread in self._threads:
            thread.start()

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
        cells = self._residents.view().cells
        return cells if isinstance(cells, Cells) else None

    def is_new(self) -> bool:
        """Whether nothing was ever written to it."""
        return self._seen == 0

    def add(self, faces: Sequence[GalleryFace], *, replace: bool = False) -> Added:
        """See ``GalleryStore.add``."""
        check_faces(faces, self._size)
        if not faces:
            return Added((), (), ())
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
            return Added(
                tuple(face.id for face in faces if face.id not in there),
                tuple(taken),
                tuple(face.id for face in faces if face.id in unchanged),
            )

    def get(self, face_id: str) -> GalleryFace:
        """See ``GalleryStore.get``."""
        with self._database.reading() as connection:
            return _one(connection, face_id)

    def stored(self, ids: Sequence[str]) -> Mapping[str, GalleryFace]:
        """See ``GalleryStore.stored``."""
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
            residents, columns = self._with_columns(needed)
            snapshot = self._seen if options.snapshot is None else options.snapshot
            try:
                matches = GallerySearch(residents.view(), columns, self).matches(queries, k, options)
            except FaceHasGoneError:
                self._look()
                continue
            return SearchResult(matches, snapshot)
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
        return len(self._residents) if condition is None else len(self._passing(condition))

    def statistics(self) -> Statistics:
        """See ``GalleryStore.statistics``."""
        names: list[Field] = [("subject",), ("emotion",), ("label",), ("sub_class",)]
        residents, columns = self._with_columns(set(names))
        alive = residents.view().alive
        subjects, emotions, labels, sub_classes = (columns[name].counts(alive) for name in names)
        subjects.pop(None, None)
        return Statistics(int(alive.sum()), len(subjects), emotions, labels, sub_classes)

    def sample(self, most: int) -> Sample:
        """See ``GalleryStore.sample``."""
        view = self._residents.view()
        alive = np.flatnonzero(view.alive)
        places = alive[drawn(view.sequences[alive], most)]
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
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            raise GalleryError(f"{folder} is there already: a snapshot is written to a new folder") from None
        except OSError as error:
            raise GalleryError(f"{folder} cannot be made: {error.strerror}") from None
        try:
            with self._database.reading(moment=False) as connection:  # VACUUM INTO is a transaction of its own
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

    def restore(self, folder: Path) -> int:
        """See ``GalleryStore.restore``."""
        source = GalleryDatabase(folder / DATABASE)
        try:
            state = source.state()
            check_network(folder, state.embedder_sha256, state.embedding_size, self._embedder_sha256, self._size)
            with self._database.said():
                (counter,) = source.writer.execute("SELECT max(counter) FROM gallery").fetchone()
                faces = source.writer.execute(f"SELECT {FACE} FROM faces ORDER BY sequence")  # noqa: S608
                pictures = source.writer.execute("SELECT sequence, image FROM thumbnails")
                with self._database.writing() as connection:
                    now = self._database.state()
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
        self._look()
        return max(count, 0)

    def check(self, queries: int = 200, k: int = 10) -> dict[str, Any]:
        """Compare memory with the database, and approximate search with exact; JSON values.

        Args:
            queries: faces of the gallery that are searched for.
            k: matches of each.
        """
        with self._database.lock:
            self._catch_up()
            view = self._residents.view()
            with self._database.reading() as connection:
                (integrity,) = connection.execute("PRAGMA quick_check(1)").fetchone()
                rows = connection.execute("SELECT sequence, embedding FROM faces ORDER BY sequence")
                agree, count = True, 0
                places = np.flatnonzero(view.alive)
                while block := rows.fetchmany(_BLOCK):
                    part = places[count : count + len(block)]
                    sequences = np.array([row[0] for row in block])
                    agree &= np.array_equal(view.sequences[part], sequences) and np.array_equal(
                        view.embeddings(part), embeddings_of((row[1] for row in block), self._size)
                    )
                    count += len(block)
                agree &= count == len(places)
        report: dict[str, Any] = {
            "faces": count,
            "database": integrity,
            "memory_agrees_with_database": bool(agree),
            "index": "cells" if view.cells is not None else "exact",
            "behind_the_base": self._residents.tail_faces,
            "remarks": list(self.remarks),
        }
        return report | (_recall_report(view, places, queries, k) if len(places) else {})

    def save(self) -> None:
        """Write the resident file, for a quick restart, unless another process is at it."""
        with self._database.lock:
            self._catch_up()
            residents, counter, generation = self._residents, self._seen, self._generation
            view = residents.view()
            kept = np.flatnonzero(view.alive)
        # A face that goes while this runs is in the file as a hole, and in the changes that come after it.
        image = ResidentImage(generation, counter, view.sequences[kept], view.embeddings(kept))
        with _held(self.folder / f"{RESIDENTS}.lock", fcntl.LOCK_EX) as held:
            if held is None:
                return
            try:
                write_residents(self.folder / RESIDENTS, image)
                if isinstance(view.cells, Cells):
                    write_cells(self.folder / CELLS, _cells_image(view.cells, kept, image))
            except OSError as error:  # a disk that is full: the next start takes longer, and nothing is lost
                _log.warning("%s: the resident file was not written: %s", self.folder, error)
                return
        self._saved = counter
        with self._database.writing() as connection:
            state = self._database.state()
            forgotten = counter - _CHANGES_KEPT
            if state.generation == generation and forgotten > state.forgotten:
                connection.execute("DELETE FROM changes WHERE number <= ?", (forgotten,))
                connection.execute("UPDATE gallery SET forgotten = ?", (forgotten,))

    def wait_for_index(self) -> None:
        """Return once no merge is wanted or under way."""
        while self._merge_wanted.is_set() or self._merging.locked():
            time.sleep(0.01)

    def close(self) -> None:
        """See ``GalleryStore.close``."""
        if self._stopping.is_set():
            return
        self._stopping.set()
        self._merge_wanted.set()
        self._threads[0].join()
        self._threads[1].join(_INDEX_ENDS_S)  # it may be at cells that nobody waits for any more
        try:
            if self._seen - self._saved > _BLOCK or (self._seen > self._saved and self._seen > _BLOCK):
                self.save()
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

    def _with_columns(self, fields: set[Field]) -> tuple[Residents, Mapping[Field, Column]]:
        residents = self._residents
        columns = dict(residents.columns)
        if not fields <= columns.keys():
            with self._database.lock:
                self._catch_up()
                residents = self._residents
                columns = {field: residents.column(field) for field in fields}
        return residents, columns

    def _passing(self, condition: Filter) -> NDArray[np.int64]:
        """Sequence numbers, ascending, of the faces that pass a filter."""
        residents, columns = self._with_columns(fields_of(condition))
        view = residents.view()
        passed: NDArray[np.int64] = view.sequences[GallerySearch(view, columns, self).passing(condition)]
        return passed

    def _column_values(self, field: Field, sequences: NDArray[np.int64]) -> Iterable[Any]:
        with self._database.reading() as connection:
            there, values = plain_values(connection, field, lambda metadata: nested(metadata, field[1:]))
        # Memory may have holes that the database has not, and the database faces that memory does not know yet.
        aligned: list[Any] = [None] * len(sequences)
        places = np.searchsorted(sequences, there)
        for place, sequence, value in zip(places.tolist(), there.tolist(), values, strict=True):
            if place < len(sequences) and sequences[place] == sequence:
                aligned[place] = value
        return aligned

    @contextmanager
    def _writing(self) -> Iterator["_Write"]:
        """A transaction that memory follows when it is durable."""
        with self._database.lock:
            with self._database.writing() as connection:
                self._catch_up()
                write = _Write(connection, self._seen)
                yield write
                if write.counter > self._seen:
                    connection.execute("UPDATE gallery SET counter = ?", (write.counter,))
            self._apply(write.inserted, write.updated, write.deleted, write.counter)
        self._consider_merging()

    def _apply(
        self, inserted: Sequence[GalleryFace], updated: Iterable[GalleryFace], deleted: Iterable[int], counter: int
    ) -> None:
        """Bring memory from what it has seen to ``counter``. The lock is held."""
        residents = self._residents
        if inserted:
            residents.extend_columns(lambda field, row: value_of(inserted[row], field), len(inserted))
            residents.append(
                np.array([face.sequence for face in inserted], dtype=np.int64),
                np.stack([face.embedding for face in inserted]),
            )
        for face in updated:
            place = residents.position(face.sequence)
            if place is not None:
                for field, column in residents.columns.items():
                    column.set(place, value_of(face, field))
        for sequence in deleted:
            residents.remove(sequence)
        self._seen = counter

    def _look(self) -> None:
        """Catch up with other processes now."""
        with self._database.lock:
            self._catch_up()

    def _catch_up(self) -> None:
        """Bring memory to what the database holds. The lock is held, or nobody else is there yet."""
        connection = self._database.writer
        with self._database.said(), _one_moment(connection):
            state = self._database.state()
            if state.generation == self._generation and state.counter == self._seen:
                return
            if state.generation != self._generation or state.forgotten > self._seen:
                self._generation = state.generation
                self._residents = self._read_all(state.counter)
                self._seen = state.counter
                return
            changes = connection.execute(
                "SELECT sequence, gone FROM changes WHERE number > ?", (self._seen,)
            ).fetchall()
            gone = [sequence for sequence, is_gone in changes if is_gone]
            touched = sorted({sequence for sequence, is_gone in changes if not is_gone and sequence <= self._seen})
            updated = self._database.faces(touched, connection).values()
            added = f"SELECT {FACE} FROM faces WHERE sequence > ? ORDER BY sequence"  # noqa: S608
            rows = connection.execute(added, (self._seen,))
            seen = self._seen
            while block := rows.fetchmany(_BLOCK):
                self._apply([to_face(row) for row in block], (), (), seen)
            self._apply((), updated, gone, state.counter)

    def _loaded(self) -> tuple[Residents, int, str]:
        """Residents, the counter they are of, and the generation: from the resident file or else the database."""
        with self._database.said(), _one_moment(self._database.writer):
            state = self._database.state()
            try:
                image = read_residents(self.folder / RESIDENTS)
            except FileNotFoundError:
                return self._read_all(state.counter), state.counter, state.generation
            except GalleryError as error:
                self._remark(f"{error}; memory was rebuilt from {DATABASE}")
                return self._read_all(state.counter), state.counter, state.generation
            fits = (
                image.generation == state.generation
                and state.forgotten <= image.counter <= state.counter
                and image.embeddings.shape[1] == self._size
            )
            if not fits:
                return self._read_all(state.counter), state.counter, state.generation
            residents = self._new_residents(image.sequences, image.embeddings, self._cells_of(image))
            self._residents, self._seen, self._generation = residents, image.counter, state.generation
        self._catch_up()
        (count,) = self._database.writer.execute("SELECT count(*) FROM faces").fetchone()
        if count != len(self._residents) and self._database.state().counter == self._seen:
            self._remark(f"{self.folder / RESIDENTS} holds other faces than {DATABASE}; memory was rebuilt from it")
            return self._read_all(self._seen), self._seen, self._generation
        return self._residents, self._seen, self._generation

    def _cells_of(self, image: ResidentImage) -> Cells | None:
        """The cells that were saved with a resident file, where cells are wanted."""
        if not self.policy.wants_cells(len(image.sequences)):
            return None
        try:
            saved = read_cells(self.folder / CELLS)
        except FileNotFoundError:
            return None
        except GalleryError as error:
            self._remark(f"{error}; the cells are made anew")
            return None
        if (saved.generation, saved.counter) != (image.generation, image.counter):
            return None
        if len(saved.of_face) != len(image.sequences) or saved.centroids.shape[1] != self._size:
            return None
        return saved.cells(image.embeddings)

    def _read_all(self, counter: int) -> Residents:
        """Residents from the database alone, up to a counter."""
        rows = self._database.writer.execute(
            "SELECT sequence, embedding FROM faces WHERE sequence <= ? ORDER BY sequence", (counter,)
        ).fetchall()
        sequences = np.array([row[0] for row in rows], dtype=np.int64)
        return self._new_residents(sequences, embeddings_of((row[1] for row in rows), self._size))

    def _new_residents(
        self, sequences: NDArray[np.int64], base: NDArray[np.float32], cells: Cells | None = None
    ) -> Residents:
        return Residents(sequences, base, self._column_values, cells, self.policy.to_device)

    def _remark(self, remark: str) -> None:
        self.remarks.append(remark)
        _log.warning("%s", remark)

    def _follow(self) -> None:
        """Look for what other processes have written, until the gallery is closed."""
        with self._database.reading(moment=False) as connection:
            before = None
            while not self._stopping.wait(_POLL_S):
                (version,) = connection.execute("PRAGMA data_version").fetchone()
                if version != before:
                    try:
                        self._look()
                        before = version
                    except GalleryError as error:
                        _log.warning("changes of other processes could not be read: %s", error)
                self._consider_merging()

    def _consider_merging(self) -> None:
        residents = self._residents
        base = len(residents) + residents.holes - residents.tail_faces
        most = max(self.policy.tail, int(self.policy.tail_share * base))
        cells = residents.view().cells is not None
        if residents.tail_faces > most or residents.holes > most or self.policy.wants_cells(base) != cells:
            self._merge_wanted.set()

    def _keep_merged(self) -> None:
        """Merge tail, holes and base in the background, until the gallery is closed."""
        while True:
            self._merge_wanted.wait()
            if self._stopping.is_set():
                return
            with self._merging:
                self._merge_wanted.clear()
                try:
                    self._merge()
                except GalleryError as error:
                    _log.warning("the index of %s was not rebuilt: %s", self.folder, error)

    def _merge(self) -> None:
        residents = self._residents
        view = residents.view()
        kept = np.flatnonzero(view.alive)
        base = view.embeddings(kept)
        cells = Cells.made(base) if self.policy.wants_cells(len(base)) else None
        if self._stopping.is_set():
            return
        with self._database.lock:
            if self._residents is residents:
                self._residents = residents.merged(kept, len(view), base, cells)
        if self._seen - self._saved > _BLOCK or cells is not None:
            self.save()


class _Write:
    """What one transaction does, for memory to follow."""

    def __init__(self, connection: Any, counter: int) -> None:
        self.connection = connection
        self.counter = counter
        self.inserted: list[GalleryFace] = []
        self.updated: list[GalleryFace] = []
        self.deleted: list[int] = []

    def faces_with_ids(self, ids: Sequence[str]) -> dict[str, GalleryFace]:
        rows = in_parts(self.connection, f"SELECT {FACE} FROM faces WHERE id IN ", ids)  # noqa: S608
        return {row[1]: to_face(row) for row in rows}

    def insert(self, faces: Sequence[GalleryFace]) -> None:
        now = time.time()
        added = []
        for face in faces:
            self.counter += 1
            added.append(replace(face, sequence=self.counter, time=now if face.time is None else float(face.time)))
        insert_faces(self.connection, added)
        self.inserted.extend(added)

    def update(self, face: GalleryFace) -> None:
        self.counter += 1
        names = "label, emotion, sub_class, subject, metadata, content_sha256, time"
        self.connection.execute(
            f"UPDATE faces SET ({names}) = (?, ?, ?, ?, ?, ?, ?) WHERE sequence = ?",  # noqa: S608
            (*to_row(face)[3:], face.sequence),
        )
        self._note([face.sequence], gone=False)
        self.updated.append(face)

    def delete(self, sequences: Sequence[int]) -> None:
        delete_faces(self.connection, sequences)
        self.counter += len(sequences)
        self._note(sequences, gone=True)
        self.deleted.extend(sequences)

    def _note(self, sequences: Sequence[int], *, gone: bool) -> None:
        first = self.counter - len(sequences) + 1
        rows = [(first + row, sequence, int(gone)) for row, sequence in enumerate(sequences)]
        self.connection.executemany("INSERT INTO changes VALUES (?, ?, ?)", rows)


def open_gallery(
    folder: Path, embedding_size: int, embedder_sha256: str, *, policy: IndexPolicy = IndexPolicy(), alone: bool = False
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
    lock = _lock(folder, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
    try:
        if not (folder / DATABASE).exists():
            create_database(folder / DATABASE, embedding_size, embedder_sha256)
        database = GalleryDatabase(folder / DATABASE)
        try:
            state = database.state()
        finally:
            database.close()
        check_network(folder, state.embedder_sha256, state.embedding_size, embedder_sha256, embedding_size)
        return EmbeddedGallery(folder, lock, policy)
    except BaseException:
        lock.close()
        raise


def network_of(folder: Path) -> tuple[str, int]:
    """SHA-256 and dimensions of the network whose embeddings the gallery of a folder holds.

    Raises:
        GalleryError: it is no gallery, or of a newer version.
    """
    database = GalleryDatabase(folder / DATABASE)
    try:
        state = database.state()
    finally:
        database.close()
    return state.embedder_sha256, state.embedding_size


def check_network(folder: Path, found_sha256: str, found_size: int, wanted_sha256: str, wanted_size: int) -> None:
    """Refuse embeddings of another network.

    Raises:
        GalleryError: they are.
    """
    if (found_sha256, found_size) != (wanted_sha256, wanted_size):
        raise GalleryError(
            f"{folder} holds {found_size} dimensions of the network {found_sha256[:12]}…, wanted are {wanted_size} "
            f"of {wanted_sha256[:12]}…: embeddings of two networks cannot be compared"
        )


def _cells_image(cells: Cells, kept: NDArray[np.int64], image: ResidentImage) -> CellsImage:
    of_face = np.full(len(kept), -1, dtype=np.int32)
    in_base = kept < len(cells.of_face)
    of_face[in_base] = cells.of_face[kept[in_base]]
    return CellsImage(image.generation, image.counter, cells.centroids, of_face, cells.probes, cells.recall)


def _recall_report(view: Any, places: NDArray[np.int64], queries: int, k: int) -> dict[str, Any]:
    generator = np.random.default_rng(0)
    chosen = np.sort(generator.choice(places, min(queries, len(places)), replace=False))
    asked = view.embeddings(chosen)
    seconds, answers = {}, {}
    for name, exact in (("exact", True), ("served", False)):
        start = time.perf_counter()
        answers[name] = [view.nearest(query[None], k, exact=exact)[0].positions[: k + 1] for query in asked]
        seconds[name] = (time.perf_counter() - start) / len(asked)
    # A face is a query like any other but for itself, which it always finds: it does not count.
    hits = [
        np.isin(np.setdiff1d(wanted, own), served).mean() if len(wanted) > 1 else 1.0
        for own, wanted, served in zip(chosen, answers["exact"], answers["served"], strict=True)
    ]
    return {
        f"recall_at_{k}": float(np.mean(hits)),
        "queries": len(asked),
        "exact_ms": round(seconds["exact"] * 1000, 3),
        "served_ms": round(seconds["served"] * 1000, 3),
        **({"cells": view.cells.count, "probes": view.cells.probes} if isinstance(view.cells, Cells) else {}),
    }


def _lock(folder: Path, how: int) -> Any:
    try:
        file = (folder / LOCK).open("a+b")
    except OSError as error:
        raise GalleryError(f"{folder} cannot be the folder of a gallery: {error.strerror}") from None
    try:
        fcntl.flock(file, how | fcntl.LOCK_NB)
    except OSError:
        file.close()
        wanted = "alone" if how == fcntl.LOCK_EX else "with others"
        raise GalleryError(f"another process holds the gallery {folder}: it cannot be opened {wanted} now") from None
    return file


@contextmanager
def _held(path: Path, how: int) -> Iterator[Any]:
    with path.open("a+b") as file:
        try:
            fcntl.flock(file, how | fcntl.LOCK_NB)
        except OSError:
            yield None
            return
        yield file


@contextmanager
def _one_moment(connection: Any) -> Iterator[None]:
    """Reads within see one moment of the database; within a transaction they do already."""
    if connection.in_transaction:
        yield
        return
    connection.execute("BEGIN")
    try:
        yield
    finally:
        connection.execute("COMMIT")


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
