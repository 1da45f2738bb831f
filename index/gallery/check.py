"""How well a gallery is searched: its matches compared with exact search among all its faces."""

import time
from typing import Any

import numpy as np

from mien.index.gallery.store import GalleryStore
from mien.index.gallery.vectors.flat import ExactSearch


def measure_recall(gallery: GalleryStore, queries: int, k: int) -> dict[str, Any]:
    """Recall and time of searches for faces of the gallery that are moved a little, as JSON values.

    Args:
        gallery: with at least one face.
        queries: number of searches.
        k: matches of each.
    """
    name = f"recall_at_{k}"
    faces = gallery.sample(gallery.count())
    generator = np.random.default_rng(0)
    rows = np.sort(generator.choice(len(faces.ids), min(queries, len(faces.ids)), replace=False))
    points = faces.embeddings[rows]
    points = (points + generator.normal(size=points.shape) * 0.2 * points.std(axis=0)).astype(np.float32)
    exact_search, k = ExactSearch(faces.embeddings), min(k, len(faces.ids))
    start = time.perf_counter()
    wanted = [exact_search.search(point[None], k)[0][0] for point in points]
    exact_end = time.perf_counter()
    found = [{match.face.id for match in gallery.search(point[None], k).matches[0]} for point in points]
    served_end = time.perf_counter()
    hits = [len(ids & {faces.ids[row] for row in nearest}) / k for ids, nearest in zip(found, wanted, strict=True)]
    return {
        name: float(np.mean(hits)),
        "queries": len(points),
        "exact_ms": round((exact_end - start) / len(points) * 1000, 3),
        "served_ms": round((served_end - exact_end) / len(points) * 1000, 3),
    }
