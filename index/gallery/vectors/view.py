"""The vectors of a gallery at one moment, and the nearest among them.

The first vectors are the *sealed segment*, which never grows: it may be a file mapped into memory, and an index may be
built over it. The *growing segment* comes after it and is always searched exactly. A deleted vector is a *tombstone*,
far away from every query.
"""

from dataclasses import dataclass
from typing import Final, Protocol

import faiss
import numpy as np
from numpy.typing import NDArray

TOMBSTONE: Final = 1e15
"""Every coordinate of a deleted vector: farther than anything, and its square is still a float32."""

SPARE: Final = 8
"""Candidates fetched beyond those asked for: single precision may order the last ones wrongly."""

MAX_FAISS_K: Final = 1024
"""FAISS finds so many candidates well; for more, all distances are computed."""

_MAX_GATHERED_SHARE: Final = 0.15
"""Up to this share of the vectors, those that pass a filter are copied together and searched alone."""

_ALMOST_ALL: Final = 0.9

_ROWS_AT_ONCE: Final = 65_536


class AnnIndex(Protocol):
    """An index over the sealed segment: inverted lists, which are approximate, or a copy on a GPU, which is exact."""

    def search(self, queries: NDArray[np.float32], count: int) -> NDArray[np.int64]:
        """(q, count) positions of near vectors, nearest first; -1 where there are fewer."""


@dataclass(frozen=True)
class Nearest:
    """The candidates of one query: every other vector is at least as far as the last of them.

    Attributes:
        positions: (m,) nearest first.
        distances: (m,) float64.
        complete: whether there are no others.
    """

    positions: NDArray[np.int64]
    distances: NDArray[np.float64]
    complete: bool


@dataclass(frozen=True)
class View:
    """The vectors of a gallery at one moment.

    Attributes:
        sealed: (b, d) float32.
        growing: (n - b, d) float32.
        sequences: (n,) int64, ascending.
        alive: (n,) which are no tombstones.
        ivf: an approximate index over the sealed segment; None searches exactly.
        device: an exact index over the sealed segment on a GPU; None searches on the CPU.
    """

    sealed: NDArray[np.float32]
    growing: NDArray[np.float32]
    sequences: NDArray[np.int64]
    alive: NDArray[np.bool_]
    ivf: AnnIndex | None
    device: AnnIndex | None = None

    def __len__(self) -> int:
        return len(self.sequences)

    def count_until(self, snapshot: int) -> int:
        """How many of the vectors have a sequence number up to ``snapshot``."""
        return int(np.searchsorted(self.sequences, snapshot, side="right"))

    def embeddings(self, positions: NDArray[np.integer]) -> NDArray[np.float32]:
        """(..., d) the embeddings at positions (...)."""
        if len(self.growing) == 0:
            found: NDArray[np.float32] = self.sealed[positions]
            return found
        found = np.empty((*positions.shape, self.sealed.shape[1]), dtype=np.float32)
        in_sealed = positions < len(self.sealed)
        found[in_sealed] = self.sealed[positions[in_sealed]]
        found[~in_sealed] = self.growing[positions[~in_sealed] - len(self.sealed)]
        return found

    def nearest(
        self,
        queries: NDArray[np.float32],
        count: int,
        among: NDArray[np.bool_] | None = None,
        *,
        exact: bool = False,
    ) -> list[Nearest]:
        """The nearest vectors of each query.

        Args:
            queries: (q, d) float32.
            count: at least 1; more or fewer candidates may come, but none only if there are none.
            among: (n,) which vectors may be candidates, none of them a tombstone; None means all.
            exact: do not use the approximate index.
        """
        if among is None:
            return self._nearest_of_all(queries, count, exact=exact)
        passing = int(np.count_nonzero(among))
        if passing == 0:
            nothing = Nearest(np.empty(0, dtype=np.int64), np.empty(0), complete=True)
            return [nothing] * len(queries)
        wanted = int(1.3 * (min(count, passing) + SPARE) * len(self) / passing)
        if passing <= _MAX_GATHERED_SHARE * len(self) or wanted > MAX_FAISS_K:
            return self._nearest_of_gathered(queries, count, among)
        # The approximate index finds vectors near among all: if many of them do not pass, it would find too few.
        few = passing < _ALMOST_ALL * len(self)
        nearest = []
        for query, found in zip(queries, self._nearest_of_all(queries, wanted, exact=exact or few), strict=True):
            passed = among[found.positions]
            if not found.complete and np.count_nonzero(passed) < count:
                nearest += self._nearest_of_gathered(query[None], count, among)
            else:
                nearest.append(Nearest(found.positions[passed], found.distances[passed], found.complete))
        return nearest

    def _nearest_of_all(self, queries: NDArray[np.float32], count: int, *, exact: bool) -> list[Nearest]:
        fetched = min(count + SPARE, len(self))
        if fetched == 0 or fetched > MAX_FAISS_K:
            return self._nearest_of_gathered(queries, count, self.alive)
        parts = []
        if len(self.sealed):
            from_sealed = min(fetched, len(self.sealed))
            if self.ivf is not None and not exact:
                parts.append(self.ivf.search(queries, from_sealed))
            elif self.device is not None:
                parts.append(self.device.search(queries, from_sealed))
            else:
                parts.append(faiss.knn(queries, self.sealed, from_sealed)[1])
        if len(self.growing):
            rows = faiss.knn(queries, self.growing, min(fetched, len(self.growing)))[1]
            parts.append(np.where(rows < 0, -1, rows + len(self.sealed)))
        positions = np.concatenate(parts, axis=1) if len(parts) > 1 else parts[0]
        distances = _distances(self.embeddings(np.maximum(positions, 0)), queries)
        distances[(positions < 0) | ~self.alive[positions]] = np.inf
        complete = fetched == len(self)
        return [
            self._sort(positions[row], distances[row], fetched, queries[row], count, complete=complete)
            for row in range(len(queries))
        ]

    def _nearest_of_gathered(self, queries: NDArray[np.float32], count: int, among: NDArray[np.bool_]) -> list[Nearest]:
        """Exact neighbours among the vectors that pass, copied together."""
        rows = np.flatnonzero(among)
        fetched = min(count + SPARE, len(rows))
        if fetched > MAX_FAISS_K or fetched == 0 or len(rows) > _MAX_GATHERED_SHARE * max(len(self), 2**20):
            return [self._rank(query, count, rows) for query in queries]
        gathered = self.embeddings(rows)
        found = faiss.knn(queries, gathered, fetched)[1]
        distances = _distances(gathered[found], queries)
        complete = fetched == len(rows)
        return [
            self._sort(rows[found[row]], distances[row], fetched, queries[row], count, complete=complete, rows=rows)
            for row in range(len(queries))
        ]

    def _sort(
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
        """Sort candidates, and drop those at the end that may tie with a vector that was not fetched."""
        order = np.argsort(distances, kind="stable")[:fetched]
        positions, distances = positions[order], distances[order]
        finite = int(np.searchsorted(distances, np.inf))
        positions, distances = positions[:finite], distances[:finite]
        if complete:
            return Nearest(positions, distances, complete=True)
        end = int(np.searchsorted(distances, distances[-1] * (1 - 1e-6))) if finite else 0
        if end < min(count, fetched - 1):
            among = np.flatnonzero(self.alive) if rows is None else rows
            return self._rank(query, count, among)
        return Nearest(positions[:end], distances[:end], complete=False)

    def _rank(self, query: NDArray[np.float32], count: int, rows: NDArray[np.int64]) -> Nearest:
        """The nearest of some vectors by all their distances, with all that tie with the last."""
        squares = np.empty(len(rows), dtype=np.float32)
        for start in range(0, len(rows), _ROWS_AT_ONCE):
            part = rows[start : start + _ROWS_AT_ONCE]
            difference = self.embeddings(part) - query
            squares[start : start + len(part)] = np.einsum("nd,nd->n", difference, difference)
        complete = count >= len(rows)
        if not complete:
            rows = rows[squares <= np.partition(squares, count - 1)[count - 1] * (1 + 1e-5)]
        distances = _distances(self.embeddings(rows)[None], query[None])[0]
        order = np.argsort(distances, kind="stable")
        return Nearest(rows[order], distances[order], complete)


def _distances(points: NDArray[np.float32], queries: NDArray[np.float32]) -> NDArray[np.float64]:
    """(q, k) distances in double precision, of points (q, k, d): FAISS's shortcut for batches loses digits."""
    difference = (points.astype(np.float64) - queries[:, None, :]).reshape(-1, points.shape[2])
    # Row by row, so that a pair has the same distance to the last digit, whatever else is computed with it.
    distances: NDArray[np.float64] = np.sqrt(np.einsum("nd,nd->n", difference, difference))
    return distances.reshape(points.shape[:2])
