"""The embedded gallery at scale, beside bare FAISS, hnswlib and usearch: same data, one run.

    python benchmarks/gallery.py --faces 1000000 --output docs

Embeddings are drawn from the mixture of the bundle that ships. Writes ``gallery_scale.json`` and, with matplotlib,
``gallery_scale.png``, a plot of recall against queries/s at batch 1. Needs hnswlib and usearch for their rows.
Searches are timed in seconds of the CPU, on one thread; additions, restart and builds by the clock.
"""

import argparse
import json
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from index.bundle import default_bundle, load_bundle
from index.cells import Cells, recall_of
from index.embedded_gallery import EmbeddedGallery, IndexPolicy, open_gallery
from index.filters import parse_filter
from index.gallery_store import GalleryFace, SearchOptions

SHA256 = "0" * 64
K = 10
LABELS = 100
"""Different labels: a filter on one has a selectivity of 1 %."""

Points = NDArray[np.float32]
Search = Callable[[Points], NDArray[np.int64]]


def main() -> None:
    """Run all of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faces", type=int, default=1_000_000)
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument("--peers", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--peer-faces", type=int, help="Faces that the graphs are built on (default: all).")
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    points, queries = drawn(arguments.faces, 0), drawn(arguments.queries, 1)
    exact = faiss.IndexFlatL2(points.shape[1])
    exact.add(points)
    wanted = exact.search(queries, K)[1]
    report: dict[str, Any] = {"faces": len(points), "dimensions": points.shape[1], "cores": os.cpu_count()}
    folder = Path(tempfile.mkdtemp(dir=arguments.output))
    try:
        gallery_figures(folder / "gallery", Data(points, queries, wanted, exact), report)
    finally:
        shutil.rmtree(folder)
    said("gallery", report)
    if arguments.peers:
        count = arguments.peer_faces or len(points)
        if count < len(points):
            exact = faiss.IndexFlatL2(points.shape[1])
            exact.add(points[:count])
            wanted = exact.search(queries, K)[1]
        report["peers_faces"] = count
        report["curves"] = curves(points[:count], queries, wanted)
    if arguments.output:
        (arguments.output / "gallery_scale.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
        if arguments.peers:
            plot(report, arguments.output / "gallery_scale.png")


def drawn(count: int, seed: int) -> Points:
    """(count, 64) points of the shipped mixture, each emotion as often as in the shipped gallery."""
    mixture = load_bundle(default_bundle()).mixture
    generator = np.random.default_rng(seed)
    component = generator.choice(len(mixture.emotions), count, p=mixture.weights / mixture.weights.sum())
    points = np.empty((count, mixture.centroids.shape[1]), dtype=np.float32)
    for number, (centroid, covariance) in enumerate(zip(mixture.centroids, mixture.covariances, strict=True)):
        rows = np.flatnonzero(component == number)
        points[rows] = generator.multivariate_normal(centroid, covariance, len(rows), method="cholesky")
    return points


@dataclass(frozen=True)
class Data:
    """What is searched, and what must be found.

    Attributes:
        points: (n, d).
        queries: (q, d).
        wanted: (q, k) the nearest points of each.
        bare: FAISS's exact index over the points.
    """

    points: Points
    queries: Points
    wanted: NDArray[np.int64]
    bare: Any


def gallery_figures(folder: Path, data: Data, report: dict[str, Any]) -> None:
    """Additions, restart, exact, filtered and approximate search of the embedded gallery."""
    points, queries, wanted, bare = data.points, data.queries, data.wanted, data.bare
    size = points.shape[1]
    store = open_gallery(folder, size, SHA256, policy=IndexPolicy(kind="exact"))
    report["additions_per_s"] = additions(store, points)
    said("additions", report)
    start = time.perf_counter()
    store.close()
    report["close_s"] = time.perf_counter() - start
    start = time.perf_counter()
    store = open_gallery(folder, size, SHA256, policy=IndexPolicy(kind="exact"))
    report["restart_s"] = time.perf_counter() - start
    store.search(queries[:1], K)
    report["restart_and_first_answer_s"] = time.perf_counter() - start
    said("restart", report)
    store.wait_for_index()

    faiss.omp_set_num_threads(1)
    one, many = queries[:40], np.resize(queries, (256, size))
    bare_1, ours_1 = compared([lambda q: bare.search(q, K), lambda q: store.search(q, K)], list(one[:, None]))
    bare_256, ours_256 = compared([lambda q: bare.search(q, K), lambda q: store.search(q, K)], [many] * 5)
    report["exact"] = {
        "bare_ms_at_1": bare_1,
        "ours_ms_at_1": ours_1,
        "bare_ms_at_256": bare_256,
        "ours_ms_at_256": ours_256,
    }
    said("exact", report)
    rare = SearchOptions(filter=parse_filter({"label": "label 7"}))
    start = time.perf_counter()
    store.search(queries[:1], K, rare)
    first_s = time.perf_counter() - start
    own = np.flatnonzero(np.arange(len(points)) % LABELS == 7)
    filtered = np.array([_rows(store, query, rare) for query in one])
    expected = own[faiss.knn(one, np.ascontiguousarray(points[own]), K)[1]]
    unfiltered, with_filter = compared(
        [lambda q: store.search(q, K), lambda q: store.search(q, K, rare)], list(one[:, None])
    )
    report["filtered"] = {
        "selectivity": len(own) / len(points),
        "recall": recall_of(filtered, expected),
        "unfiltered_ms_at_1": unfiltered,
        "filtered_ms_at_1": with_filter,
        "first_with_this_field_ms": first_s * 1000,
    }
    said("filtered", report)
    store.close()

    faiss.omp_set_num_threads(os.cpu_count() or 1)
    start = time.perf_counter()
    store = open_gallery(folder, size, SHA256, policy=IndexPolicy(kind="cells"))
    while store.cells is None:
        time.sleep(0.1)
    store.wait_for_index()
    report["cells_build_s"] = time.perf_counter() - start
    cells = store.cells
    faiss.omp_set_num_threads(1)
    found = np.array([_rows(store, query) for query in queries])
    report["cells"] = {
        "count": cells.count,
        "probes": cells.probes,
        "recall": recall_of(found, wanted),
    }
    names = ("bare_exact_ms_at_1", "index_ms_at_1", "ours_ms_at_1")
    searches = [lambda q: bare.search(q, K), lambda q: cells.search(q, K), lambda q: store.search(q, K)]
    report["cells"] |= dict(zip(names, compared(searches, list(one[:, None]) * 3), strict=True))
    report["check"] = store.check(100)
    store.close()


def additions(store: EmbeddedGallery, points: Points, batch: int = 1000) -> float:
    """Add all faces, in batches each of which is on disk when it returns; faces per second."""
    start = time.perf_counter()
    for first in range(0, len(points), batch):
        store.add(
            [
                GalleryFace(f"face-{row:08d}", points[row], label=f"label {row % LABELS}", metadata={"row": row})
                for row in range(first, min(first + batch, len(points)))
            ]
        )
    return len(points) / (time.perf_counter() - start)


def curves(points: Points, queries: Points, wanted: NDArray[np.int64]) -> dict[str, list[dict[str, float]]]:
    """Recall and queries/s at batch 1 of each index, over its own dial; one thread."""
    found: dict[str, list[dict[str, float]]] = {}
    for name, build in INDEXES.items():
        faiss.omp_set_num_threads(os.cpu_count() or 1)
        start = time.perf_counter()
        try:
            index = build(points)
        except ImportError as error:
            print(f"-- {name} left out: {error}")  # noqa: T201
            continue
        found[name] = dial(index, queries, wanted, time.perf_counter() - start)
        said(name, {name: found[name]})
    return found


def mien_cells(points: Points) -> Callable[[int], Search]:
    """The cells of the embedded gallery."""
    cells = Cells.made(points)

    def index(probes: int) -> Search:
        cells.probes = probes
        return lambda q: cells.search(q, K)

    return index


def faiss_graph(points: Points) -> Callable[[int], Search]:
    """HNSW of FAISS."""
    graph = faiss.IndexHNSWFlat(points.shape[1], 32)
    graph.hnsw.efConstruction = 80
    graph.add(points)

    def index(effort: int) -> Search:
        graph.hnsw.efSearch = effort
        return lambda q: np.asarray(graph.search(q, K)[1])

    return index


def hnswlib_graph(points: Points) -> Callable[[int], Search]:
    """HNSW of hnswlib."""
    import hnswlib

    graph = hnswlib.Index("l2", points.shape[1])
    graph.init_index(len(points), M=32, ef_construction=80)
    graph.add_items(points)
    graph.set_num_threads(1)

    def index(effort: int) -> Search:
        graph.set_ef(effort)
        return lambda q: np.asarray(graph.knn_query(q, K)[0].astype(np.int64))

    return index


def usearch_graph(points: Points) -> Callable[[int], Search]:
    """HNSW of usearch."""
    from usearch.index import Index

    graph: Any = Index(ndim=points.shape[1], metric="l2sq", dtype="f32", connectivity=32, expansion_add=80)
    graph.add(np.arange(len(points)), points)

    def index(effort: int) -> Search:
        graph.expansion_search = effort
        return lambda q: np.atleast_2d(graph.search(q[0], K).keys).astype(np.int64)

    return index


INDEXES: dict[str, Callable[[Points], Callable[[int], Search]]] = {
    "mien cells (FAISS IVF-Flat)": mien_cells,
    "FAISS HNSW32": faiss_graph,
    "hnswlib M32": hnswlib_graph,
    "usearch f32 M32": usearch_graph,
}
"""By name: builds an index over points, and gives its search for each value of its dial."""

DIAL = (8, 16, 32, 64, 128, 256)
"""Cells that are looked into, or the length of a graph's list of candidates."""


def dial(
    index: Callable[[int], Search], queries: Points, wanted: NDArray[np.int64], build_s: float
) -> list[dict[str, float]]:
    """One point for each value of an index's dial."""
    rows = []
    faiss.omp_set_num_threads(1)
    for value in DIAL:
        search = index(value)
        found = np.concatenate([search(query[None]) for query in queries])
        ms = per_query(search, queries)
        rows.append({"dial": value, "recall": recall_of(found, wanted), "queries_per_s": 1000 / ms, "build_s": build_s})
    return rows


def plot(report: dict[str, Any], path: Path) -> None:
    """Recall against queries/s."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 4.5))
    for name, rows in report["curves"].items():
        axes.plot([row["recall"] for row in rows], [row["queries_per_s"] for row in rows], "o-", label=name)
    exact = report["exact"]["bare_ms_at_1"] * report["peers_faces"] / report["faces"]
    axes.axhline(1000 / exact, color="grey", linestyle="--", label="FAISS Flat (exact)")
    axes.set(yscale="log", xlabel=f"recall@{K}", ylabel="queries/s, batch 1, one thread")
    axes.set_title(f"{report['peers_faces']:,} points of the shipped mixture, 64 dimensions")
    axes.grid(alpha=0.3)
    axes.legend()
    figure.tight_layout()
    figure.savefig(path, dpi=130)


def compared(searches: Sequence[Callable[[Points], Any]], asked: Sequence[Points]) -> list[float]:
    """Median milliseconds of each search, in turns, so that other work on the machine meets all of them alike."""
    times: list[list[float]] = [[] for _ in searches]
    for queries in asked:
        for search, own in zip(searches, times, strict=True):
            start = time.process_time()
            search(queries)
            own.append(time.process_time() - start)
    return [statistics.median(own) * 1000 for own in times]


def per_query(search: Callable[[Points], Any], queries: Points) -> float:
    """Median milliseconds of one query alone."""
    return compared([search], list(queries[:, None]))[0]


def said(what: str, report: dict[str, Any]) -> None:
    """Print what is known so far."""
    print(f"-- {what}", json.dumps(report)[-1500:], flush=True)  # noqa: T201


def _rows(store: EmbeddedGallery, query: Points, options: SearchOptions | None = None) -> list[int]:
    (matches,) = store.search(query[None], K, options or SearchOptions()).matches
    return [int(match.face.id.removeprefix("face-")) for match in matches]


if __name__ == "__main__":
    main()
