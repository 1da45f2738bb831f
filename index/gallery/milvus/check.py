"""A check of a distributed gallery: what is served is compared with exact search on the gallery's own faces."""

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mien.index.gallery.vectors.flat import ExactSearch


def recall_report(
    ids: Sequence[str],
    points: NDArray[np.float32],
    search: Callable[[NDArray[np.float32], int], Sequence[str]],
    queries: int,
    k: int,
) -> dict[str, Any]:
    """Recall and time of searches for faces that are moved a little, as JSON values.

    Args:
        ids: (n,) of all faces.
        points: (n, d) their embeddings.
        search: returns the ids of the nearest faces of one query (1, d).
        queries: number of searches.
        k: matches of each.
    """
    generator = np.random.default_rng(0)
    asked = points[np.sort(generator.choice(len(ids), min(queries, len(ids)), replace=False))]
    asked = (asked + generator.normal(size=asked.shape) * 0.2 * asked.std(axis=0)).astype(np.float32)
    start = time.perf_counter()
    served = [set(search(query[None], k)) for query in asked]
    served_ms = 1000 * (time.perf_counter() - start) / len(asked)
    exact, _ = ExactSearch(points).search(asked, min(k, len(ids)))
    hits = [len(found & {ids[row] for row in rows}) / len(rows) for found, rows in zip(served, exact, strict=True)]
    return {f"recall_at_{k}": float(np.mean(hits)), "queries": len(asked), "served_ms": round(served_ms, 3)}
