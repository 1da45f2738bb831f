"""A check of an embedded gallery: memory is compared with the database, and approximate search with exact search."""

import time
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mien.index.gallery.embedded.database import GalleryDatabase
from mien.index.gallery.embedded.memory import GalleryMemory
from mien.index.gallery.embedded.rows import embeddings_of
from mien.index.gallery.vectors.ivf import IvfIndex
from mien.index.gallery.vectors.view import View

_BLOCK: Final = 10_000


def check_gallery(memory: GalleryMemory, database: GalleryDatabase, queries: int, k: int) -> dict[str, Any]:
    """A report as JSON values.

    Args:
        memory: of the gallery.
        database: of the gallery.
        queries: faces of the gallery to search for.
        k: matches of each.
    """
    with database.lock:
        memory.catch_up()
        view = memory.vectors.view()
        alive = np.flatnonzero(view.alive)
        with database.reading() as connection:
            (integrity,) = connection.execute("PRAGMA quick_check(1)").fetchone()
            rows = connection.execute("SELECT sequence, embedding FROM faces ORDER BY sequence")
            agree, count = True, 0
            while block := rows.fetchmany(_BLOCK):
                part = alive[count : count + len(block)]
                sequences = np.array([row[0] for row in block])
                embeddings = embeddings_of((row[1] for row in block), view.sealed.shape[1])
                agree &= np.array_equal(view.sequences[part], sequences)
                agree &= np.array_equal(view.embeddings(part), embeddings)
                count += len(block)
            agree &= count == len(alive)
    report: dict[str, Any] = {
        "faces": count,
        "database": integrity,
        "memory_agrees_with_database": bool(agree),
        "index": "ivf" if view.ivf is not None else "exact",
        "growing": memory.vectors.growing_count,
        "remarks": list(memory.remarks),
    }
    return report | (_recall_report(view, alive, queries, k) if len(alive) else {})


def _recall_report(view: View, alive: NDArray[np.int64], queries: int, k: int) -> dict[str, Any]:
    generator = np.random.default_rng(0)
    chosen = np.sort(generator.choice(alive, min(queries, len(alive)), replace=False))
    embeddings = view.embeddings(chosen)
    seconds, found = {}, {}
    for name, exact in (("exact", True), ("served", False)):
        start = time.perf_counter()
        found[name] = [view.nearest(query[None], k, exact=exact)[0].positions[: k + 1] for query in embeddings]
        seconds[name] = (time.perf_counter() - start) / len(embeddings)
    # A face of the gallery is a query like any other, except that it always finds itself: that does not count.
    hits = [
        np.isin(np.setdiff1d(wanted, own), served).mean() if len(wanted) > 1 else 1.0
        for own, wanted, served in zip(chosen, found["exact"], found["served"], strict=True)
    ]
    return {
        f"recall_at_{k}": float(np.mean(hits)),
        "queries": len(embeddings),
        "exact_ms": round(seconds["exact"] * 1000, 3),
        "served_ms": round(seconds["served"] * 1000, 3),
        **({"nlist": view.ivf.nlist, "nprobe": view.ivf.nprobe} if isinstance(view.ivf, IvfIndex) else {}),
    }
