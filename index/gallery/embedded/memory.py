"""The memory of an embedded gallery: its vectors, which follow what is written to the database.

Memory has *seen* the database up to a number of its counter. It is told of this process's writes once they are durable;
those of other processes it reads: new faces by their sequence numbers, which are greater than what it has seen, deleted
and updated ones from the table of changes. Where changes were dropped meanwhile, or all faces were replaced at once
(another *generation*), everything is read again.
"""

import logging
import threading
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mien.index.deadline import locked_in_time
from mien.index.errors import GalleryError
from mien.index.gallery.embedded.columns import read_column, update_column
from mien.index.gallery.embedded.damage import DamagedRow, set_aside_damaged
from mien.index.gallery.embedded.database import GalleryDatabase, State
from mien.index.gallery.embedded.folder import DATABASE, IVF, VECTORS, lock_file
from mien.index.gallery.embedded.rows import READ_FACE, embeddings_of, faces_by_sequence, to_face
from mien.index.gallery.face import GalleryFace
from mien.index.gallery.filters import value_of
from mien.index.gallery.validation import excerpt
from mien.index.gallery.vectors.columns import Column, Field
from mien.index.gallery.vectors.ivf import IvfIndex, read_ivf, write_ivf
from mien.index.gallery.vectors.policy import IndexPolicy
from mien.index.gallery.vectors.vectors import VectorIndex
from mien.index.gallery.vectors.vectors_file import VectorsFile
from mien.index.gallery.vectors.view import View

_MAX_CHANGES: Final = 10_000
"""Changes that the database keeps for other processes."""

_BLOCK: Final = 10_000

_MAX_REPORTED: Final = 10
"""Damaged rows that are reported each for itself."""

_ATTEMPTS: Final = 10
"""Of reading columns while all vectors are replaced."""

_log = logging.getLogger(__name__)


class GalleryMemory:
    """The vectors of a gallery. A change needs the database's lock; reading takes none.

    Attributes:
        folder: of the gallery.
        policy: how it is searched.
        vectors: the embeddings, and columns.
        seen: the database's counter that they agree with.
        remarks: what the user should know about the opening.
        file_has_deleted: whether the vectors file has faces that the gallery does not have any more.
        columns_lock: held while a column is read; taken before the database's lock, where both are.
    """

    def __init__(self, folder: Path, database: GalleryDatabase, policy: IndexPolicy) -> None:
        """Load the vectors, from their file if it fits the database."""
        self.folder = folder
        self.policy = policy
        self.remarks: list[str] = []
        self.file_has_deleted = False
        self._checking = threading.Lock()
        self._database = database
        self.columns_lock = threading.RLock()
        self._size = database.state().embedding_size
        self._load()
        self._saved = self.seen

    @property
    def unsaved(self) -> int:
        """How many changes the vectors file does not have."""
        return self.seen - self._saved

    def with_columns(self, fields: Collection[Field]) -> tuple[View, Mapping[Field, Column]]:
        """A view of this moment, and columns that are at least as long.

        Raises:
            DeadlineError: reading the columns takes too long.
            GalleryError: the gallery is rewritten again and again meanwhile.
        """
        for _ in range(_ATTEMPTS):
            vectors = self.vectors
            view = vectors.view()  # before the columns, which grow with the faces
            columns = {field: self._column(vectors, field) for field in fields}
            found = {field: column for field, column in columns.items() if column is not None}
            if len(found) == len(fields):
                return view, found
        raise GalleryError(f"the gallery {self.folder} changes faster than its fields can be read")

    def _column(self, vectors: VectorIndex, field: Field) -> Column | None:
        """The column of a field, which is read if it is not in memory; None if the vectors were replaced meanwhile."""
        column = vectors.columns.get(field)
        if column is not None:
            return column
        with locked_in_time(self.columns_lock):  # one at a time, while others write
            column = vectors.columns.get(field)
            if column is not None or vectors is not self.vectors:
                return column
            column, counter = read_column(self._database, field, vectors.view().sequences)
            with self._database.lock:
                self.catch_up()
                if vectors is not self.vectors:
                    return None
                with self._database.reading() as connection:
                    if self._database.state(connection).forgotten > counter:
                        return None
                    update_column(connection, column, field, vectors.view().sequences, counter)
                vectors.keep_column(field, column)
        return column

    def apply(
        self,
        inserted: Sequence[GalleryFace],
        updated: Iterable[GalleryFace],
        deleted: Iterable[int],
        counter: int,
    ) -> None:
        """Change the vectors from what they have seen to ``counter``, with the database's lock held."""
        vectors = self.vectors
        if inserted:
            vectors.extend_columns(lambda field, row: value_of(inserted[row], field), len(inserted))
            vectors.append(
                np.array([face.sequence for face in inserted], dtype=np.int64),
                np.stack([face.embedding for face in inserted]),
            )
        for face in updated:
            position = vectors.position(face.sequence)
            if position is not None:
                for field, column in vectors.columns.items():
                    column.set(position, value_of(face, field))
        for sequence in deleted:
            vectors.remove(sequence)
        self.seen = counter

    def refresh(self) -> None:
        """Read what other processes have written."""
        with self._database.lock:
            self.catch_up()

    def catch_up(self) -> None:
        """``refresh`` with the database's lock held, or before anything else uses the memory."""
        with self._database.reading_with_writer() as connection:
            state = self._database.state()
            if state.generation == self._generation and state.counter == self.seen:
                return
            if state.generation != self._generation or state.forgotten > self.seen:
                self._read_all(state)
                return
            changes = connection.execute("SELECT sequence, gone FROM changes WHERE number > ?", (self.seen,)).fetchall()
            deleted = [sequence for sequence, gone in changes if gone]
            touched = sorted({sequence for sequence, gone in changes if not gone and sequence <= self.seen})
            updated = faces_by_sequence(connection, touched).values()
            added = f"SELECT {READ_FACE} FROM faces WHERE sequence > ? ORDER BY sequence"  # noqa: S608
            rows = connection.execute(added, (self.seen,))
            seen = self.seen
            while block := rows.fetchmany(_BLOCK):
                self.apply([to_face(row) for row in block], (), (), seen)
            self.apply((), updated, deleted, state.counter)

    def save(self) -> None:
        """Write the vectors file, unless another process is writing it, and drop changes that it makes needless."""
        with self._database.lock:
            self.catch_up()
            counter, generation = self.seen, self._generation
            self.file_has_deleted = False
            view = self.vectors.view()
            alive = np.flatnonzero(view.alive)
        # A face that is deleted meanwhile is a tombstone in the file, and among the changes that come after it.
        file = VectorsFile(generation, counter, view.sequences[alive], view.embeddings(alive))
        with lock_file(self.folder / f"{VECTORS}.lock") as locked:
            if not locked:
                self.file_has_deleted = True  # the other process may have begun earlier
                return
            try:
                file.write(self.folder / VECTORS)
                if isinstance(view.ivf, IvfIndex):
                    write_ivf(self.folder / IVF, view.ivf, alive, file)
            except OSError as error:  # such as a full disk: the next start takes longer, and nothing is lost
                _log.warning("%s: the vectors file was not written: %s", self.folder, error)
                self.file_has_deleted = (self.folder / VECTORS).exists()
                return
        self._saved = counter
        with self._database.writing() as connection:
            state = self._database.state()
            forgotten = counter - _MAX_CHANGES
            if state.generation == generation and forgotten > state.forgotten:
                connection.execute("DELETE FROM changes WHERE number <= ?", (forgotten,))
                connection.execute("UPDATE gallery SET forgotten = ?", (forgotten,))

    def _load(self) -> None:
        """Read the vectors from their file, or from the database if the file does not fit it."""
        with self._database.reading_with_writer() as connection:
            state = self._database.state()
            file = self._read_file(state)
            if file is None:
                self._read_all(state)
                return
            self.vectors = self._new_vectors(file.sequences, file.embeddings, self._read_ivf(file))
            self.seen, self._generation = file.counter, state.generation
            self.catch_up()
            self.file_has_deleted = self.vectors.tombstones > 0
            (count,) = connection.execute("SELECT count(*) FROM faces").fetchone()
            if count != len(self.vectors):
                self.remark(f"{self.folder / VECTORS} has other faces than {DATABASE}; memory was rebuilt from it")
                self._read_all(state)

    def _read_file(self, state: State) -> VectorsFile | None:
        """The vectors file, if there is one that fits the database."""
        try:
            file = VectorsFile.read(self.folder / VECTORS)
        except FileNotFoundError:
            return None
        except GalleryError as error:
            self.remark(f"{error}; memory was rebuilt from {DATABASE}")
            self.file_has_deleted = True  # perhaps
            return None
        fits = (
            file.generation == state.generation
            and state.forgotten <= file.counter <= state.counter
            and file.embeddings.shape[1] == self._size
        )
        self.file_has_deleted = not fits
        return file if fits else None

    def _read_ivf(self, vectors: VectorsFile) -> IvfIndex | None:
        """The inverted lists that were saved with a vectors file, if the policy needs them."""
        if not self.policy.needs_ivf(len(vectors.sequences)):
            return None
        try:
            return read_ivf(self.folder / IVF, vectors)
        except FileNotFoundError:
            return None
        except GalleryError as error:
            self.remark(f"{error}; the inverted lists are built again")
            return None

    def _read_all(self, state: State) -> None:
        """Read the vectors from the database alone, but for damaged ones, which are set aside later."""
        whole = "typeof(embedding) = 'blob' AND length(embedding) = ?"
        query = f"SELECT sequence, embedding FROM faces WHERE {whole} ORDER BY sequence"  # noqa: S608
        rows = self._database.writer.execute(query, (4 * self._size,)).fetchall()
        sequences = np.array([row[0] for row in rows], dtype=np.int64)
        embeddings = embeddings_of((row[1] for row in rows), self._size)
        finite = np.isfinite(embeddings).all(axis=1)
        if not finite.all():
            sequences, embeddings = sequences[finite], embeddings[finite]
        self.vectors = self._new_vectors(sequences, embeddings)
        self.seen, self._generation = state.counter, state.generation

    def _new_vectors(
        self, sequences: NDArray[np.int64], sealed: NDArray[np.float32], ivf: IvfIndex | None = None
    ) -> VectorIndex:
        return VectorIndex(sequences, sealed, ivf, self.policy.to_device)

    def set_aside_damaged(self) -> None:
        """Set the damaged rows of the database aside; return once another thread has, if one is doing it."""
        if not self._checking.acquire(blocking=False):
            with self._checking:
                return
        try:
            damaged = set_aside_damaged(self._database)
            self.refresh()
        finally:
            self._checking.release()
        self.report(damaged)

    def report(self, damaged: Sequence[DamagedRow]) -> None:
        """Tell the user of rows that were set aside."""
        for row in damaged[:_MAX_REPORTED]:
            self.remark(f"the face {excerpt(row.id)} is damaged, and was set aside: {row.fault}")
        if len(damaged) > _MAX_REPORTED:
            self.remark(f"{len(damaged)} faces are damaged, and were set aside")

    def remark(self, remark: str) -> None:
        """Tell the user something, by ``remarks`` and the log."""
        self.remarks.append(remark)
        _log.warning("%s", remark)
