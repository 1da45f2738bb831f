"""A gallery that does not change: labelled faces, searched exactly. A bundle holds one, and evaluation makes others."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mien.index.errors import QueryError
from mien.index.gallery.validation import check_queries
from mien.index.gallery.vectors.flat import ExactSearch


@dataclass(frozen=True)
class Entry:
    """A face of the gallery.

    Attributes:
        id: unique in the gallery.
        emotion: its label.
        metadata: any JSON values.
        subject: the person, where known.
        sub_class: of its emotion, where known.
    """

    id: str
    emotion: str
    metadata: dict[str, Any]
    subject: str | None = None
    sub_class: str | None = None


@dataclass(frozen=True)
class Match:
    """A face near to a query.

    Attributes:
        entry: the face.
        distance: Euclidean, in embedding units; smaller is nearer.
    """

    entry: Entry
    distance: float


class FixedGallery:
    """Labelled faces with their embeddings. Thread-safe.

    Attributes:
        entries: the faces.
        embeddings: (n, d) float32, in the same order.
        rows: id to row.
    """

    def __init__(self, entries: list[Entry], embeddings: NDArray[np.float32]) -> None:
        """Search among ``entries`` (n,) by their ``embeddings`` (n, d) float32, in the same order.

        Raises:
            ValueError: the two differ in length, or an id occurs twice.
        """
        if len(entries) != len(embeddings):
            raise ValueError(f"expected one embedding per entry, got {len(entries)} entries and {embeddings.shape}")
        self.entries = entries
        self.embeddings = embeddings
        self.rows = {entry.id: row for row, entry in enumerate(entries)}
        if len(self.rows) != len(entries):
            raise ValueError("ids must be unique in a gallery")
        self._search = ExactSearch(embeddings)

    def __len__(self) -> int:
        return len(self.entries)

    def __contains__(self, face_id: str) -> bool:
        return face_id in self.rows

    def get(self, face_id: str) -> Entry:
        """The entry with this id.

        Raises:
            QueryError: there is none.
        """
        return self.entries[self._row(face_id)]

    def embedding(self, face_id: str) -> NDArray[np.float32]:
        """(d,) float32, the embedding of the face with this id.

        Raises:
            QueryError: there is none.
        """
        embedding: NDArray[np.float32] = self.embeddings[self._row(face_id)]
        return embedding

    def search(self, queries: NDArray[np.float32], k: int) -> list[list[Match]]:
        """The k nearest faces of each query, nearest first.

        Args:
            queries: (q, d) float32 embeddings.
            k: at least 1; all faces match if there are fewer.

        Raises:
            QueryError: k is below 1, or the queries have other dimensions than the gallery.
        """
        rows, distances = self.ranking(queries, k)
        return [
            [Match(self.entries[row], float(distance)) for row, distance in zip(found, far, strict=True)]
            for found, far in zip(rows, distances, strict=True)
        ]

    def ranking(self, queries: NDArray[np.float32], k: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """``search`` in arrays: (q, k) rows of ``entries`` and (q, k) distances."""
        check_queries(queries, k, self.embeddings.shape[1])
        return self._search.search(queries, min(k, len(self)))

    def _row(self, face_id: str) -> int:
        if face_id not in self.rows:
            raise QueryError(f"the gallery has no face with the id {face_id!r}")
        return self.rows[face_id]
