"""The embeddings of a gallery in memory, which change while they are searched.

Vectors are sorted by their sequence numbers, which only grow: a new one goes to the end, a deleted one becomes a
tombstone. Once the growing segment or the tombstones have become many, everything is merged into a new sealed segment
(``mien.index.gallery.vectors.view`` says what these are).

Searches take no lock: they use a view of what there was when they began. One writer at a time changes the index.
"""

from collections.abc import Callable
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mien.index.gallery.vectors.columns import Column, Field, GrowingArray
from mien.index.gallery.vectors.view import TOMBSTONE, AnnIndex, View

MAX_COLUMNS: Final = 40
"""Columns kept in memory: metadata may have any number of fields to filter by."""


class VectorIndex:
    """The embeddings of a gallery, and columns of the other fields of its faces.

    Attributes:
        columns: the columns that are in memory, oldest first.
        tombstones: how many vectors are deleted.
    """

    def __init__(
        self,
        sequences: NDArray[np.int64],
        sealed: NDArray[np.float32],
        ivf: AnnIndex | None = None,
        to_device: Callable[[NDArray[np.float32]], AnnIndex | None] | None = None,
    ) -> None:
        """Start with a sealed segment.

        Args:
            sequences: (n,) ascending.
            sealed: (n, d) float32; tombstones will be written into it.
            ivf: an approximate index over the sealed segment.
            to_device: copies a sealed segment to a GPU, to be searched exactly there; None searches on the CPU.
        """
        self._sealed = sealed
        self._ivf = ivf
        self._to_device = to_device
        self._device = to_device(sealed) if to_device is not None and len(sealed) else None
        self._growing = GrowingArray(np.empty((0, sealed.shape[1]), dtype=np.float32))
        self._sequences = GrowingArray(sequences)
        self._alive = GrowingArray(np.ones(len(sequences), dtype=bool))
        self.columns: dict[Field, Column] = {}
        self.tombstones = 0

    def __len__(self) -> int:
        """Vectors that are alive."""
        return len(self._alive) - self.tombstones

    @property
    def sealed_count(self) -> int:
        """Vectors of the sealed segment, tombstones included."""
        return len(self._sealed)

    @property
    def growing_count(self) -> int:
        """Vectors of the growing segment, tombstones included."""
        return len(self._growing)

    def view(self) -> View:
        """The vectors of this moment."""
        alive = self._alive.values  # appended to last: the others are at least as long
        count = len(alive)
        growing = self._growing.values[: count - len(self._sealed)]
        return View(self._sealed, growing, self._sequences.values[:count], alive, self._ivf, self._device)

    def append(self, sequences: NDArray[np.int64], embeddings: NDArray[np.float32]) -> None:
        """Add vectors, after ``extend_columns``."""
        self._growing.append(embeddings)
        self._sequences.append(sequences)
        self._alive.append(np.ones(len(sequences), dtype=bool))

    def position(self, sequence: int) -> int | None:
        """The position of the vector with this sequence number; None if it is not there."""
        sequences = self._sequences.values
        place = int(np.searchsorted(sequences, sequence))
        if place == len(sequences) or sequences[place] != sequence or not self._alive.values[place]:
            return None
        return place

    def extend_columns(self, value: Callable[[Field, int], Any], count: int) -> None:
        """Add new faces to the columns, before ``append``.

        Args:
            value: the value of a field of the new face with this row.
            count: number of new faces.
        """
        for field, column in self.columns.items():
            column.append(value(field, row) for row in range(count))

    def remove(self, sequence: int) -> None:
        """Turn the vector with this sequence number into a tombstone, if it is there."""
        place = self.position(sequence)
        if place is None:
            return
        self._alive.values[place] = False
        self.tombstones += 1
        if place < len(self._sealed):
            self._sealed[place] = TOMBSTONE
        else:
            self._growing.values[place - len(self._sealed)] = TOMBSTONE

    def keep_column(self, field: Field, column: Column) -> None:
        """Keep the column of a field, as long as the vectors; only the writer may call it.

        Of more than ``MAX_COLUMNS``, the oldest is dropped.
        """
        while len(self.columns) >= MAX_COLUMNS:
            del self.columns[next(iter(self.columns))]
        self.columns[field] = column

    def merge(
        self, alive: NDArray[np.int64], seen: int, sealed: NDArray[np.float32], ivf: AnnIndex | None
    ) -> "VectorIndex":
        """An index with a new sealed segment, which was made from a view while this one went on changing.

        Args:
            alive: (m,) the positions of the view that are in the new segment.
            seen: length of the view.
            sealed: (m, d) the embeddings at these positions.
            ivf: an approximate index over them.
        """
        now = self.view()
        later = np.arange(seen, len(now))
        order = np.concatenate([alive, later])
        merged = VectorIndex(now.sequences[alive], sealed, ivf, self._to_device)
        merged.columns = {field: column.take(order) for field, column in self.columns.items()}
        merged.append(now.sequences[later], now.embeddings(later))
        for position in order[~now.alive[order]]:
            merged.remove(int(now.sequences[position]))
        return merged
