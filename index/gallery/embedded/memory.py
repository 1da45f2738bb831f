"""What an embedded gallery has in memory: the embeddings, which follow what is written to the database.

Memory has *seen* the database up to a number of its counter. What this process writes it is told once that is durable;
what others write it reads: new faces by their sequence numbers, which are greater than what it has seen, and what was
deleted or updated out of the table of changes. Where changes were forgotten meanwhile, or everything was replaced at
once (another *generation*), all is read anew.
"""

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import compress
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mien.index.errors import GalleryError
from mien.index.gallery.embedded.database import FACE, GalleryDatabase, embeddings_of, to_face, values_of
from mien.index.gallery.embedded.folder import CELLS, DATABASE, RESIDENTS, held
from mien.index.gallery.face import GalleryFace
from mien.index.gallery.filters import value_of
from mien.index.gallery.vectors.columns import Column, Field
from mien.index.gallery.vectors.ivf import Cells
from mien.index.gallery.vectors.ivf_file import CellsImage, read_cells, write_cells
from mien.index.gallery.vectors.policy import IndexPolicy
from mien.index.gallery.vectors.vectors import Residents, View
from mien.index.gallery.vectors.vectors_file import ResidentImage, read_residents, write_residents

_CHANGES_KEPT: Final = 10_000
_BLOCK: Final = 10_000

_log = logging.getLogger(__name__)


class GalleryMemory:
    """Residents of a gallery. Whoever changes them holds the database's lock; readers hold none.

    Attributes:
        residents: the embeddings, and columns.
        seen: the database's counter that they are of.
        remarks: what an owner should know of the opening.
    """

    def __init__(self, folder: Path, database: GalleryDatabase, policy: IndexPolicy) -> None:
        """Load what the folder has, from the resident file if it fits the database."""
        self.folder = folder
        self.policy = policy
        self.remarks: list[str] = []
        self._database = database
        self._size = database.state().embedding_size
        self.residents, self.seen, self._generation = self._loaded()
        self._saved = self.seen
        self.catch_up()

    @property
    def unsaved(self) -> int:
        """How much was written since the resident file was."""
        return self.seen - self._saved

    def with_columns(self, fields: set[Field]) -> tuple[View, Mapping[Field, Column]]:
        """The residents of a moment, and columns that are at least as long."""
        residents = self.residents
        view, columns = residents.view(), dict(residents.columns)
        if not fields <= columns.keys():
            with self._database.lock:
                self.catch_up()
                view = self.residents.view()
                columns = {field: self.residents.column(field) for field in fields}
        return view, columns

    def apply(
        self,
        inserted: Sequence[GalleryFace],
        updated: Iterable[GalleryFace],
        deleted: Iterable[int],
        counter: int,
    ) -> None:
        """Bring memory from what it has seen to ``counter``. The database's lock is held."""
        residents = self.residents
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
        self.seen = counter

    def look(self) -> None:
        """Catch up with other processes now."""
        with self._database.lock:
            self.catch_up()

    def catch_up(self) -> None:
        """Bring memory to what the database holds. The lock is held, or nobody else is there yet."""
        connection = self._database.writer
        with self._database.said(), _one_moment(connection):
            state = self._database.state()
            if state.generation == self._generation and state.counter == self.seen:
                return
            if state.generation != self._generation or state.forgotten > self.seen:
                self._generation = state.generation
                self.residents = self._read_all(state.counter)
                self.seen = state.counter
                return
            changes = connection.execute("SELECT sequence, gone FROM changes WHERE number > ?", (self.seen,)).fetchall()
            gone = [sequence for sequence, is_gone in changes if is_gone]
            touched = sorted({sequence for sequence, is_gone in changes if not is_gone and sequence <= self.seen})
            updated = self._database.faces(touched, connection).values()
            added = f"SELECT {FACE} FROM faces WHERE sequence > ? ORDER BY sequence"  # noqa: S608
            rows = connection.execute(added, (self.seen,))
            seen = self.seen
            while block := rows.fetchmany(_BLOCK):
                self.apply([to_face(row) for row in block], (), (), seen)
            self.apply((), updated, gone, state.counter)

    def save(self) -> None:
        """Write the resident file, for a quick restart, unless another process is at it."""
        with self._database.lock:
            self.catch_up()
            residents, counter, generation = self.residents, self.seen, self._generation
            view = residents.view()
            kept = np.flatnonzero(view.alive)
        # A face that goes while this runs is in the file as a hole, and in the changes that come after it.
        image = ResidentImage(generation, counter, view.sequences[kept], view.embeddings(kept))
        with held(self.folder / f"{RESIDENTS}.lock") as file:
            if file is None:
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
            self.residents, self.seen, self._generation = residents, image.counter, state.generation
        self.catch_up()
        (count,) = self._database.writer.execute("SELECT count(*) FROM faces").fetchone()
        if count != len(self.residents) and self._database.state().counter == self.seen:
            self._remark(f"{self.folder / RESIDENTS} holds other faces than {DATABASE}; memory was rebuilt from it")
            return self._read_all(self.seen), self.seen, self._generation
        return self.residents, self.seen, self._generation

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

    def _column_values(self, field: Field, sequences: NDArray[np.int64]) -> Iterator[list[Any]]:
        """The values of a field, face by face, in parts.

        Memory may have holes that the database has not, and the database faces that memory does not know yet.
        """
        done, ended = 0, np.append(sequences, -1)
        with self._database.reading() as connection:
            for there, values in values_of(connection, field):
                places = np.searchsorted(sequences, there)
                known = ended[places] == there
                end = int(places[-1]) + int(known[-1])
                part: list[Any] = [None] * (end - done)
                for place, value in zip((places[known] - done).tolist(), compress(values, known), strict=True):
                    part[place] = value
                yield part
                done = end
        yield [None] * (len(sequences) - done)

    def _remark(self, remark: str) -> None:
        self.remarks.append(remark)
        _log.warning("%s", remark)


def _cells_image(cells: Cells, kept: NDArray[np.int64], image: ResidentImage) -> CellsImage:
    of_face = np.full(len(kept), -1, dtype=np.int32)
    in_base = kept < len(cells.of_face)
    of_face[in_base] = cells.of_face[kept[in_base]]
    return CellsImage(image.generation, image.counter, cells.centroids, of_face, cells.probes, cells.recall)


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
