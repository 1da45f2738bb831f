"""Exact nearest neighbours on FAISS, among embeddings that do not change."""

import faiss
import numpy as np
from numpy.typing import NDArray


class ExactSearch:
    """Euclidean nearest neighbours among a fixed set of embeddings. Thread-safe."""

    def __init__(self, embeddings: NDArray[np.float32]) -> None:
        """Search in (n, d) float32 embeddings; a search returns rows of it."""
        self._embeddings = np.ascontiguousarray(embeddings, dtype=np.float32)
        self._faiss_index = faiss.IndexFlatL2(self._embeddings.shape[1])
        self._faiss_index.add(self._embeddings)

    def search(self, queries: NDArray[np.float32], k: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """The k nearest rows of each query, equal distances in the order of rows.

        FAISS chooses the rows, and their distances are computed again in double precision, because FAISS's shortcut
        for batches (|q|^2 - 2 qx + |x|^2) loses digits for near points.

        Args:
            queries: (q, d) float32.
            k: at most n.

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
    """Let FAISS run the searches of the calling thread in it alone.

    OpenMP keeps this number for each thread, and by default each of them would start as many threads as there are
    cores.
    """
    faiss.omp_set_num_threads(1)
