"""Whether an embedded gallery is whole: memory compared with the database, and approximate search with exact."""

import time
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mien.index.gallery.embedded.database import GalleryDatabase, embeddings_of
from mien.index.gallery.embedded.memory import GalleryMemory
from mien.index.gallery.vectors.ivf import Cells
from mien.index.gallery.vectors.vectors import View

_BLOCK: Final = 10_000


def check_gallery(memory: GalleryMemory, database: GalleryDatabase, queries: int, k: int) -> dict[str, Any]:
    """What was found, as JSON values.

    Args:
        memory: of the gallery.
        database: of the gallery.
        queries: faces of the gallery that are searched for.
        k: matches of each.
    """
    with database.lock:
        memory.catch_up()
        view = memory.residents.view()
        with database.reading() as connection:
            (integrity,) = connection.execute("PRAGMA quick_check(1)").fetchone()
            rows = connection.execute("SELECT sequence, embedding FROM faces ORDER BY sequence")
            agree, count = True, 0
            places = np.flatnonzero(view.alive)
            while block := rows.fetchmany(_BLOCK):
                part = places[count : count + len(block)]
                sequences = np.array([row[0] for row in block])
                agree &= np.array_equal(view.sequences[part], sequences) and np.array_equal(
                    view.embeddings(part), embeddings_of((row[1] for row in block), view.base.shape[1])
                )
                count += len(block)
            agree &= count == len(places)
    report: dict[str, Any] = {
        "faces": count,
        "database": integrity,
        "memory_agrees_with_database": bool(agree),
        "index": "cells" if view.cells is not None else "exact",
        "behind_the_base": memory.residents.tail_faces,
        "remarks": list(memory.remarks),
    }
    return report | (_recall_report(view, places, queries, k) if len(places) else {})


def _recall_report(view: View, places: NDArray[np.int64], queries: int, k: int) -> dict[str, Any]:
    generator = np.random.default_rng(0)
    chosen = np.sort(generator.choice(places, min(queries, len(places)), replace=False))
    asked = view.embeddings(chosen)
    seconds, answers = {}, {}
    for name, exact in (("exact", True), ("served", False)):
        start = time.perf_counter()
        answers[name] = [view.nearest(query[None], k, exact=exact)[0].positions[: k + 1] for query in asked]
        seconds[name] = (time.perf_counter() - start) / len(asked)
    # A face is a query like any other but for itself, which it always finds: it does not count.
    hits = [
        np.isin(np.setdiff1d(wanted, own), served).mean() if len(wanted) > 1 else 1.0
        for own, wanted, served in zip(chosen, answers["exact"], answers["served"], strict=True)
    ]
    return {
        f"recall_at_{k}": float(np.mean(hits)),
        "queries": len(asked),
        "exact_ms": round(seconds["exact"] * 1000, 3),
        "served_ms": round(seconds["served"] * 1000, 3),
        **({"cells": view.cells.count, "probes": view.cells.probes} if isinstance(view.cells, Cells) else {}),
    }
