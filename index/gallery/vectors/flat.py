"""Exact nearest neighbours on FAISS: the one place that knows FAISS, and that it answers squared distances."""

import faiss
import numpy as np
from numpy.typing import NDArray


class ExactSearch:
    """Euclidean nearest neighbours among a fixed set of embeddings. Thread-safe."""

    def __init__(self, embeddings: NDArray[np.float32]) -> None:
        """Take over (n, d) float32 embeddings; row numbers are what a search answers."""
        self._embeddings = np.ascontiguousarray(embeddings, dtype=np.float32)
        self._faiss_index = faiss.IndexFlatL2(self._embeddings.shape[1])
        self._faiss_index.add(self._embeddings)

    def search(self, queries: NDArray[np.float32], k: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """The k nearest rows of each query.

        FAISS chooses them; their distances are then computed anew in double precision, because FAISS's shortcut
        for batches (|q|^2 - 2 qx + |x|^2) loses digits for near points. Equal distances stand in row order.

        Args:
            queries: (q, d) float32.
            k: how many, at most n.

        Returns:
            (q, k) int64 rows, nearest first, and (q, k) float64 distances in embedding units.
        """
        _, rows = self._faiss_index.search(np.ascontiguousarray(queries, dtype=np.float32), k)
        distances = np.empty(rows.shape, dtype=np.float64)
        for query, found in enumerate(rows):
            difference = self._embeddings[found].astype(np.float64) - queries[query]
            distances[query] = np.sqrt(np.einsum("kd,kd->k", difference, difference))
            order = np.lexsort((found, distances[query]))
            rows[query], distances[query] = found[order], distances[query][order]
        return rows, distances


def search_single_threaded() -> None:
    """Let the searches of the calling thread run in it alone.

    OpenMP keeps this number for each thread of its own, and by default each would bring a team as large as the machine.
    """
    faiss.omp_set_num_threads(1)
