"""Residents: the embeddings of a gallery in memory, searched by FAISS while they change.

Faces stand by their sequence numbers, which only grow: a new face goes to the end, one that goes leaves a hole. The
first of them are the *base*, which does not move: it may be a file mapped into memory, and cells
(``mien.index.gallery.vectors.ivf``) may lead through it. The *tail* behind it grows, and is always searched exactly.
Once the tail or the holes have become many, everything is merged into a new base.

Searches take no lock: they look at what there was when they began. One writer at a time changes residents.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

import faiss
import numpy as np
from numpy.typing import NDArray

from mien.index.gallery.vectors.columns import Column, Field, GrowingArray

HOLE: Final = 1e15
"""Every coordinate of a face that has gone: farther than anything, and its square is still a float32."""

SPARE: Final = 8
"""Candidates beyond those that were asked for: single precision may have chosen slightly other ones at the end."""

MOST_BY_FAISS: Final = 1024
"""FAISS finds so many candidates well; for more, all distances are computed."""

MOST_COLUMNS: Final = 40
"""Columns that are kept in memory: metadata may have any number of fields to filter by."""

_GATHERED_SHARE: Final = 0.15
"""Up to this share of the faces, those that pass a filter are copied together and searched alone."""

_ALMOST_ALL: Final = 0.9

_ROWS_AT_ONCE: Final = 65_536


class Leading(Protocol):
    """What leads through a base to approximate neighbours."""

    def search(self, queries: NDArray[np.float32], count: int) -> NDArray[np.int64]:
        """(q, count) positions of near faces; -1 where there are fewer."""


@dataclass(frozen=True)
class Nearest:
    """Candidates for one query: whoever is not among them is at least as far as the last of them.

    Attributes:
        positions: (m,) nearest first.
        distances: (m,) float64.
        complete: whether they are all there are.
    """

    positions: NDArray[np.int64]
    distances: NDArray[np.float64]
    complete: bool


@dataclass(frozen=True)
class View:
    """The residents of a moment.

    Attributes:
        base: (b, d) float32.
        tail: (n - b, d) float32.
        sequences: (n,) int64, ascending.
        alive: (n,) which are no holes.
        cells: what leads through the base; None searches it exactly.
        device: searches the base exactly, on a GPU; None is the CPU.
    """

    base: NDArray[np.float32]
    tail: NDArray[np.float32]
    sequences: NDArray[np.int64]
    alive: NDArray[np.bool_]
    cells: Leading | None
    device: Leading | None = None

    def __len__(self) -> int:
        return len(self.sequences)

    def first(self, snapshot: int) -> int:
        """How many of the faces have a sequence number up to ``snapshot``."""
        return int(np.searchsorted(self.sequences, snapshot, side="right"))

    def embeddings(self, positions: NDArray[np.integer]) -> NDArray[np.float32]:
        """(..., d) the embeddings at positions (...)."""
        if len(self.tail) == 0:
            taken: NDArray[np.float32] = self.base[positions]
            return taken
        found = np.empty((*positions.shape, self.base.shape[1]), dtype=np.float32)
        in_base = positions < len(self.base)
        found[in_base] = self.base[positions[in_base]]
        found[~in_base] = self.tail[positions[~in_base] - len(self.base)]
        return found

    def nearest(
        self,
        queries: NDArray[np.float32],
        count: int,
        among: NDArray[np.bool_] | None = None,
        *,
        exact: bool = False,
    ) -> list[Nearest]:
        """The nearest faces of each query.

        Args:
            queries: (q, d) float32.
            count: how many candidates are wanted; more or fewer may come, but none only where there are none.
            among: (n,) which faces may be candidates, none of them a hole; None lets all be.
            exact: do not go by the cells.
        """
        if among is None:
            return self._nearest_of_all(queries, count, exact=exact)
        passing = int(np.count_nonzero(among))
        if passing == 0:
            nothing = Nearest(np.empty(0, dtype=np.int64), np.empty(0), complete=True)
            return [nothing] * len(queries)
        wanted = int(1.3 * (min(count, passing) + SPARE) * len(self) / passing)
        if passing <= _GATHERED_SHARE * len(self) or wanted > MOST_BY_FAISS:
            return self._nearest_of_gathered(queries, count, among)
        # Cells lead to the near ones of all; where many of those do not pass, they would lead to too few.
        few = passing < _ALMOST_ALL * len(self)
        chosen = []
        for query, found in zip(queries, self._nearest_of_all(queries, wanted, exact=exact or few), strict=True):
            kept = among[found.positions]
            if not found.complete and np.count_nonzero(kept) < count:
                chosen += self._nearest_of_gathered(query[None], count, among)
            else:
                chosen.append(Nearest(found.positions[kept], found.distances[kept], found.complete))
        return chosen

    def _nearest_of_all(self, queries: NDArray[np.float32], count: int, *, exact: bool) -> list[Nearest]:
        fetched = min(count + SPARE, len(self))
        if fetched == 0 or fetched > MOST_BY_FAISS:
            return self._nearest_of_gathered(queries, count, self.alive)
        parts = []
        if len(self.base):
            from_base = min(fetched, len(self.base))
            if self.cells is not None and not exact:
                parts.append(self.cells.search(queries, from_base))
            elif self.device is not None:
                parts.append(self.device.search(queries, from_base))
            else:
                parts.append(faiss.knn(queries, self.base, from_base)[1])
        if len(self.tail):
            rows = faiss.knn(queries, self.tail, min(fetched, len(self.tail)))[1]
            parts.append(np.where(rows < 0, -1, rows + len(self.base)))
        positions = np.concatenate(parts, axis=1) if len(parts) > 1 else parts[0]
        distances = _distances(self.embeddings(np.maximum(positions, 0)), queries)
        distances[(positions < 0) | ~self.alive[positions]] = np.inf
        complete = fetched == len(self)
        return [
            self._closed(positions[row], distances[row], fetched, queries[row], count, complete=complete)
            for row in range(len(queries))
        ]

    def _nearest_of_gathered(self, queries: NDArray[np.float32], count: int, among: NDArray[np.bool_]) -> list[Nearest]:
        rows = np.flatnonzero(among)
        fetched = min(count + SPARE, len(rows))
        if fetched > MOST_BY_FAISS or fetched == 0 or len(rows) > _GATHERED_SHARE * max(len(self), 2**20):
            return [self._ranked(query, count, rows) for query in queries]
        gathered = self.embeddings(rows)
        found = faiss.knn(queries, gathered, fetched)[1]
        distances = _distances(gathered[found], queries)
        complete = fetched == len(rows)
        return [
            self._closed(rows[found[row]], distances[row], fetched, queries[row], count, complete=complete, rows=rows)
            for row in range(len(queries))
        ]

    def _closed(
        self,
        positions: NDArray[np.int64],
        distances: NDArray[np.float64],
        fetched: int,
        query: NDArray[np.float32],
        count: int,
        *,
        complete: bool,
        rows: NDArray[np.int64] | None = None,
    ) -> Nearest:
        """Put candidates in order, without those at the end that may have others beside them."""
        order = np.argsort(distances, kind="stable")[:fetched]
        positions, distances = positions[order], distances[order]
        finite = int(np.searchsorted(distances, np.inf))
        positions, distances = positions[:finite], distances[:finite]
        if complete:
            return Nearest(positions, distances, complete=True)
        end = int(np.searchsorted(distances, distances[-1] * (1 - 1e-6))) if finite else 0
        if end < min(count, fetched - 1):
            among = np.flatnonzero(self.alive) if rows is None else rows
            return self._ranked(query, count, among)
        return Nearest(positions[:end], distances[:end], complete=False)

    def _ranked(self, query: NDArray[np.float32], count: int, rows: NDArray[np.int64]) -> Nearest:
        """The nearest among faces, by all their distances; with all that are as far as the last."""
        squares = np.empty(len(rows), dtype=np.float32)
        for start in range(0, len(rows), _ROWS_AT_ONCE):
            part = rows[start : start + _ROWS_AT_ONCE]
            difference = self.embeddings(part) - query
            squares[start : start + len(part)] = np.einsum("nd,nd->n", difference, difference)
        if count < len(rows):
            bound = np.partition(squares, count - 1)[count - 1] * (1 + 1e-5)
            rows = rows[squares <= bound]
            complete = False
        else:
            complete = True
        distances = _distances(self.embeddings(rows)[None], query[None])[0]
        order = np.argsort(distances, kind="stable")
        return Nearest(rows[order], distances[order], complete)


class Residents:
    """The embeddings of a gallery, and columns of what else is known of its faces."""

    def __init__(
        self,
        sequences: NDArray[np.int64],
        base: NDArray[np.float32],
        column_values: Callable[[Field, NDArray[np.int64]], Iterable[Sequence[Any]]],
        cells: Leading | None = None,
        to_device: Callable[[NDArray[np.float32]], Leading | None] | None = None,
    ) -> None:
        """Hold a base.

        Args:
            sequences: (n,) ascending.
            base: (n, d) float32; holes will be written into it.
            column_values: gives a field of the faces with these sequence numbers, in parts, when a filter first asks
                for it.
            cells: what leads through the base.
            to_device: copies a base to where it is searched exactly; None leaves it to the CPU.
        """
        self._base = base
        self._cells = cells
        self._to_device = to_device
        self._device = to_device(base) if to_device is not None and len(base) else None
        self._tail = GrowingArray(np.empty((0, base.shape[1]), dtype=np.float32))
        self._sequences = GrowingArray(sequences)
        self._alive = GrowingArray(np.ones(len(sequences), dtype=bool))
        self._column_values = column_values
        self.columns: dict[Field, Column] = {}
        self.holes = 0

    def __len__(self) -> int:
        """Faces that are there."""
        return len(self._alive) - self.holes

    @property
    def tail_faces(self) -> int:
        """Faces behind the base, holes included."""
        return len(self._tail)

    def view(self) -> View:
        """What there is now."""
        alive = self._alive.values  # appended to last: the others are at least as long
        count = len(alive)
        tail = self._tail.values[: count - len(self._base)]
        return View(self._base, tail, self._sequences.values[:count], alive, self._cells, self._device)

    def append(self, sequences: NDArray[np.int64], embeddings: NDArray[np.float32]) -> None:
        """Add faces; the columns must be told first, with ``extend_columns``."""
        self._tail.append(embeddings)
        self._sequences.append(sequences)
        self._alive.append(np.ones(len(sequences), dtype=bool))

    def position(self, sequence: int) -> int | None:
        """Where the face with this sequence number stands; None if it is not there."""
        sequences = self._sequences.values
        place = int(np.searchsorted(sequences, sequence))
        if place == len(sequences) or sequences[place] != sequence or not self._alive.values[place]:
            return None
        return place

    def extend_columns(self, value: Callable[[Field, int], Any], count: int) -> None:
        """Tell the columns that are there of new faces, before ``append``.

        Args:
            value: gives a field of the new face with this row among them.
            count: of new faces.
        """
        for field, column in self.columns.items():
            column.append(value(field, row) for row in range(count))

    def remove(self, sequence: int) -> None:
        """Make a hole where a face was, if it is there."""
        place = self.position(sequence)
        if place is None:
            return
        self._alive.values[place] = False
        self.holes += 1
        if place < len(self._base):
            self._base[place] = HOLE
        else:
            self._tail.values[place - len(self._base)] = HOLE

    def column(self, field: Field) -> Column:
        """The column of a field; built if it is not there yet, which only the writer may let happen.

        Of more than ``MOST_COLUMNS``, the oldest goes.
        """
        column = self.columns.get(field)
        if column is None:
            column = Column()
            for values in self._column_values(field, self._sequences.values):
                column.append(values)
            while len(self.columns) >= MOST_COLUMNS:
                del self.columns[next(iter(self.columns))]
            self.columns[field] = column
        return column

    def merged(
        self, kept: NDArray[np.int64], seen: int, base: NDArray[np.float32], cells: Leading | None
    ) -> "Residents":
        """These residents on a new base, which was made while they went on changing.

        Args:
            kept: (m,) the positions that went into it, of a view of these residents.
            seen: how long that view was.
            base: (m, d) what it held there.
            cells: what leads through the new base.
        """
        now = self.view()
        after = np.arange(seen, len(now))
        order = np.concatenate([kept, after])
        fresh = Residents(now.sequences[kept], base, self._column_values, cells, self._to_device)
        fresh.columns = {field: column.take(order) for field, column in self.columns.items()}
        fresh.append(now.sequences[after], now.embeddings(after))
        for position in order[~now.alive[order]]:
            fresh.remove(int(now.sequences[position]))
        return fresh


def _distances(points: NDArray[np.float32], queries: NDArray[np.float32]) -> NDArray[np.float64]:
    """(q, k) distances in double precision, of points (q, k, d): FAISS's shortcut for batches loses digits."""
    difference = (points.astype(np.float64) - queries[:, None, :]).reshape(-1, points.shape[2])
    # Row by row, so that the same pair has the same distance to the last digit, whatever is computed beside it.
    distances: NDArray[np.float64] = np.sqrt(np.einsum("nd,nd->n", difference, difference))
    return distances.reshape(points.shape[:2])
