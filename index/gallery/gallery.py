"""The gallery: the faces that a query is compared with."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mien.index.errors import QueryError
from mien.index.gallery.vectors.flat import ExactSearch


@dataclass(frozen=True)
class Entry:
    """What the gallery knows of one face.

    Attributes:
        id: unique in the gallery.
        emotion: its label.
        metadata: whatever its owner gave with it, JSON values.
        subject: the person, where it is known.
        sub_class: of its emotion, where it is known.
    """

    id: str
    emotion: str
    metadata: dict[str, Any]
    subject: str | None = None
    sub_class: str | None = None


@dataclass(frozen=True)
class Match:
    """A gallery face that answers a query.

    Attributes:
        entry: the face.
        distance: Euclidean, in embedding units; smaller is nearer.
    """

    entry: Entry
    distance: float


class Gallery:
    """Faces with their embeddings, searched exactly. Thread-safe to read."""

    def __init__(self, entries: list[Entry], embeddings: NDArray[np.float32]) -> None:
        """Hold ``entries`` (n,) and their ``embeddings`` (n, d) float32, in the same order.

        Raises:
            ValueError: the two differ in length, or an id stands twice.
        """
        if len(entries) != len(embeddings):
            raise ValueError(f"expected one embedding per entry, got {len(entries)} entries and {embeddings.shape}")
        self._entries = entries
        self._rows = {entry.id: row for row, entry in enumerate(entries)}
        if len(self._rows) != len(entries):
            raise ValueError("ids should be unique in a gallery")
        self._embeddings = embeddings
        self._search = ExactSearch(embeddings)

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, face_id: str) -> bool:
        return face_id in self._rows

    @property
    def entries(self) -> list[Entry]:
        """All entries, in the order of ``embeddings``."""
        return self._entries

    @property
    def embeddings(self) -> NDArray[np.float32]:
        """(n, d) float32."""
        return self._embeddings

    def get(self, face_id: str) -> Entry:
        """The entry with this id.

        Raises:
            QueryError: there is none.
        """
        if face_id not in self._rows:
            raise QueryError(f"the gallery has no face with the id {face_id!r}")
        return self._entries[self._rows[face_id]]

    def embedding(self, face_id: str) -> NDArray[np.float32]:
        """(d,) float32, the embedding of the face with this id.

        Raises:
            QueryError: there is none.
        """
        self.get(face_id)
        point: NDArray[np.float32] = self._embeddings[self._rows[face_id]]
        return point

    def search(self, queries: NDArray[np.float32], k: int) -> list[list[Match]]:
        """The k nearest faces of each query, nearest first.

        Args:
            queries: (q, d) float32 embeddings.
            k: at least 1; a gallery of fewer faces answers all it has.

        Raises:
            QueryError: k is below 1, or the queries have other dimensions than the gallery.
        """
        rows, distances = self.ranking(queries, k)
        return [
            [Match(self._entries[row], float(distance)) for row, distance in zip(found, far, strict=True)]
            for found, far in zip(rows, distances, strict=True)
        ]

    def ranking(self, queries: NDArray[np.float32], k: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """As ``search``, in arrays: (q, k) rows of ``entries`` and (q, k) distances."""
        if k < 1:
            raise QueryError(f"k should be at least 1, got {k}")
        if queries.ndim != 2 or queries.shape[1] != self._embeddings.shape[1]:
            raise QueryError(f"expected queries (q, {self._embeddings.shape[1]}), got {queries.shape}")
        return self._search.search(queries, min(k, len(self)))
