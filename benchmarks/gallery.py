"""The embedded gallery at scale against bare FAISS, hnswlib, usearch and Milvus: same data, one run.

    python benchmarks/gallery.py --faces 1000000 --keep FOLDER --milvus milvus://127.0.0.1:19530/scale --server-pid 4711

Embeddings are drawn from the mixture of the bundle that ships. Indexes that take minutes to build stay in the folder,
and in the collection, so that a second run measures at once; ``--build-only`` builds and measures nothing. Writes
``gallery_scale.json`` and ``gallery_scale.png``, a plot of recall against queries/s at batch 1, into ``--output``.
Needs matplotlib, and hnswlib and usearch for their rows; the row of Milvus needs ``--milvus``.

Each search is of one query, on one thread, in wall-clock time: the median of the queries. The machine should be idle.
Memory is what a process grows by when it opens an index and answers the queries; for Milvus, that of its server.
"""

import argparse
import json
import multiprocessing
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import faiss
import numpy as np
from peers import PEERS, PROBES, K, Points, Rows, Search
from points import draw_points

from mien.index.gallery.embedded.gallery import EmbeddedGallery, open_embedded_gallery
from mien.index.gallery.face import GalleryFace
from mien.index.gallery.filters import parse_filter
from mien.index.gallery.milvus.address import parse_address
from mien.index.gallery.milvus.connection import MilvusConnection
from mien.index.gallery.milvus.gallery import open_milvus_gallery
from mien.index.gallery.store import SearchOptions
from mien.index.gallery.vectors.ivf import recall_of
from mien.index.gallery.vectors.policy import IndexPolicy

SHA256: Final = "0" * 64
LABELS: Final = 100
"""Number of labels: a filter on one has a selectivity of 1 %."""

ADDED: Final = 20_000
"""Faces that are added to the full gallery to time additions, and deleted again."""

EXACT_QUERIES: Final = 40


@dataclass(frozen=True)
class Data:
    """Points, queries and the true neighbours.

    Attributes:
        points: (n, d).
        queries: (q, d).
        wanted: (q, k) the nearest points of each.
    """

    points: Points
    queries: Points
    wanted: Rows


def main() -> None:
    """Build, measure, print and plot."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faces", type=int, default=1_000_000)
    parser.add_argument("--queries", type=int, default=500)
    parser.add_argument("--keep", type=Path, help="folder of the indexes (default: a temporary one)")
    parser.add_argument("--build-only", action="store_true", help="build missing indexes, and measure nothing")
    parser.add_argument(
        "--build-s", type=float, default=float("inf"), help="seconds after which no further build starts"
    )
    parser.add_argument("--milvus", metavar="ADDRESS", help="address of a running server; its collection is kept")
    parser.add_argument("--server-pid", type=int, help="process number of that server, if it is on this machine")
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as thrown_away:
        folder = arguments.keep or Path(thrown_away)
        folder.mkdir(parents=True, exist_ok=True)
        points, queries = draw_points(arguments.faces, 0), draw_points(arguments.queries, 1)
        builds = build_missing(folder, points, arguments.milvus, time.monotonic() + arguments.build_s)
        if arguments.build_only:
            return
        data = Data(points, queries, faiss.knn(queries, points, K)[1])
        report: dict[str, Any] = {"faces": len(points), "dimensions": points.shape[1], "cores": os.cpu_count()}
        faiss.omp_set_num_threads(1)
        report["gallery"], curves = gallery_figures(folder, data)
        curves |= peer_curves(folder, data, builds)
        if arguments.milvus:
            curves |= milvus_curves(arguments.milvus, arguments.server_pid, data)
        report["curves"] = curves
        report["builds"] = builds
    print(table(report))  # noqa: T201
    if arguments.output:
        (arguments.output / "gallery_scale.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
        plot(report, arguments.output / "gallery_scale.png")


def build_missing(folder: Path, points: Points, milvus: str | None, end: float) -> dict[str, dict[str, float]]:
    """Build missing indexes until ``end``; returns wall-clock and CPU seconds of each by name."""
    noted = folder / "builds.json"
    builds: dict[str, dict[str, float]] = json.loads(noted.read_text()) if noted.exists() else {}
    wanted: dict[str, Callable[[], None]] = {
        "mien": lambda: fill_gallery(folder / "gallery", points),
        "mien ivf": lambda: build_ivf(folder / "gallery", points.shape[1]),
        **({"Milvus": lambda: fill_milvus(milvus, points, end)} if milvus else {}),
        **{peer.name: lambda peer=peer: peer.build(points, folder / peer.file) for peer in PEERS},  # type: ignore[misc]
    }
    for name, build in wanted.items():
        if name in builds or time.monotonic() > end:
            continue
        clock, cpu = time.perf_counter(), time.process_time()
        try:
            build()
        except (ImportError, TimeoutError) as error:
            log(f"{name} is left out: {error}")
            continue
        builds[name] = {"build_s": time.perf_counter() - clock, "build_cpu_s": time.process_time() - cpu}
        noted.write_text(json.dumps(builds, indent=2))
        log(f"built {name}: {json.dumps(builds[name])}")
    return builds


def face_of(row: int, point: Points) -> GalleryFace:
    """A face of the gallery."""
    return GalleryFace(f"face-{row:08d}", point, label=f"label {row % LABELS}", metadata={"row": row})


def fill_gallery(folder: Path, points: Points) -> None:
    """An embedded gallery of all points."""
    with closing(open_embedded_gallery(folder, points.shape[1], SHA256, policy=IndexPolicy(kind="exact"))) as store:
        add(store, points, range(store.count(), len(points)))
        store.wait_for_index()
        store.save()


def build_ivf(folder: Path, size: int) -> None:
    """The inverted lists of the embedded gallery, which it stores."""
    with closing(open_embedded_gallery(folder, size, SHA256, policy=IndexPolicy(kind="ivf"))) as store:
        while store.ivf is None:
            time.sleep(0.1)
        store.wait_for_index()


def fill_milvus(address: str, points: Points, end: float) -> None:
    """A collection of all points; continues an interrupted run.

    Raises:
        TimeoutError: the time for building is over.
    """
    with closing(open_milvus_gallery(parse_address(address), points.shape[1], SHA256)) as gallery:
        for first in range(gallery.count() // 2000 * 2000, len(points), 2000):
            gallery.add([face_of(row, points[row]) for row in range(first, min(first + 2000, len(points)))])
            if time.monotonic() > end:
                raise TimeoutError(f"{first + 2000:,} of {len(points):,} faces are in Milvus so far")
    connection = MilvusConnection(parse_address(address))
    name = connection.address.collection
    connection.call("flush", name)
    while connection.call("describe_index", name, "embedding")["pending_index_rows"]:
        time.sleep(1)
    connection.close()


def gallery_figures(folder: Path, data: Data) -> tuple[dict[str, Any], dict[str, Any]]:
    """Restart, searches and additions of the embedded gallery; and its curves."""
    bare: Any = faiss.read_index(str(folder / PEERS[0].file))
    report: dict[str, Any] = {}
    before = resident_mb()
    start = time.perf_counter()
    store = open_embedded_gallery(folder / "gallery", data.points.shape[1], SHA256, policy=IndexPolicy(kind="exact"))
    with closing(store):
        report["restart_s"] = time.perf_counter() - start
        store.search(data.queries[:1], K)
        report["restart_and_first_answer_s"] = time.perf_counter() - start
        one, many = data.queries[:EXACT_QUERIES], np.resize(data.queries, (256, data.points.shape[1]))
        searches = [lambda q: bare.search(q, K), lambda q: store.search(q, K)]
        report["bare_ms_at_1"], report["ours_ms_at_1"] = median_ms(searches, list(one[:, None]))
        memory_mb = resident_mb() - before
        report["bare_ms_at_256"], report["ours_ms_at_256"] = median_ms(searches, [many] * 5)
        log(json.dumps(report))
        report["filter"] = filter_figures(store, data)
    report["ivf"], rows = ivf_figures(folder, data, bare)
    log(json.dumps(report))
    exact = {"dial": 0, "recall": 1.0, "ms": report["ours_ms_at_1"], "queries_per_s": 1000 / report["ours_ms_at_1"]}
    return report, {
        "mien, whole answers (ivf)": {"rows": rows},
        "mien, whole answers (exact)": {"rows": [exact], "memory_mb": memory_mb},
    }


def filter_figures(store: EmbeddedGallery, data: Data) -> dict[str, float]:
    """A filter that 1 % pass: its first use, recall, and time against an unfiltered search."""
    rare = SearchOptions(filter=parse_filter({"label": "label 7"}))
    report = {}
    start = time.perf_counter()
    store.search(data.queries[:1], K, rare)
    report["first_on_text_s"] = time.perf_counter() - start
    few = SearchOptions(filter=parse_filter({"metadata.row": {"lt": len(data.points) // LABELS}}))
    start = time.perf_counter()
    store.search(data.queries[:1], K, few)
    report["first_on_metadata_s"] = time.perf_counter() - start
    one = data.queries[:EXACT_QUERIES]
    own = np.flatnonzero(np.arange(len(data.points)) % LABELS == 7)
    filtered = np.array([found_rows(store, query, rare) for query in one])
    report["recall"] = recall_of(filtered, own[faiss.knn(one, np.ascontiguousarray(data.points[own]), K)[1]])
    both = [lambda q: store.search(q, K), lambda q: store.search(q, K, rare)]
    report["unfiltered_ms_at_1"], report["filtered_ms_at_1"] = median_ms(both, list(one[:, None]))
    return report


def ivf_figures(folder: Path, data: Data, bare: Any) -> tuple[dict[str, Any], list[dict[str, float]]]:
    """Approximate search against bare exact search, and additions; and the curve of whole answers."""
    start = time.perf_counter()
    store = open_embedded_gallery(folder / "gallery", data.points.shape[1], SHA256, policy=IndexPolicy(kind="ivf"))
    with closing(store):
        ivf = store.ivf
        assert ivf is not None, "build_ivf has kept them"  # noqa: S101
        nprobe = ivf.nprobe
        report: dict[str, Any] = {"restart_s": time.perf_counter() - start, "nlist": ivf.nlist, "nprobe": nprobe}
        three = [lambda q: bare.search(q, K), lambda q: ivf.search(q, K), lambda q: store.search(q, K)]
        times = median_ms(three, list(data.queries[:, None]))
        report |= dict(zip(("bare_ms_at_1", "index_ms_at_1", "ours_ms_at_1"), times, strict=True))
        report["recall"] = recall_of(np.array([found_rows(store, query) for query in data.queries]), data.wanted)

        def at(count: int) -> Search:
            ivf.nprobe = count
            return lambda asked: np.array([found_rows(store, asked[0])])

        rows = measure_curve(at, sorted({*PROBES, nprobe}), data)
        ivf.nprobe = nprobe
        report["check"] = store.check(100)
        fresh = draw_points(ADDED, 2)
        start = time.perf_counter()
        add(store, fresh, range(ADDED), prefix="added ")
        report["additions_per_s"] = ADDED / (time.perf_counter() - start)
        store.delete([f"added face-{row:08d}" for row in range(ADDED)])
        return report, rows


def add(store: EmbeddedGallery, points: Points, rows: range, prefix: str = "") -> None:
    """Add faces in batches of 1,000; each is on disk when ``add`` returns."""
    for first in range(rows.start, rows.stop, 1000):
        batch = [face_of(row, points[row]) for row in range(first, min(first + 1000, rows.stop))]
        store.add([replace(face, id=prefix + face.id) for face in batch])


def peer_curves(folder: Path, data: Data, builds: dict[str, dict[str, float]]) -> dict[str, Any]:
    """Recall and queries/s of each library that was built, over its dial, each in a new process."""
    curves = {}
    context = multiprocessing.get_context("spawn")
    for number, peer in enumerate(PEERS):
        if peer.name in builds:
            with ProcessPoolExecutor(1, mp_context=context) as process:
                found = process.submit(peer_curve, number, folder, data.queries, data.wanted).result()
            curves[peer.name] = found | builds[peer.name]
            log(json.dumps({peer.name: curves[peer.name]}))
    return curves


def peer_curve(number: int, folder: Path, queries: Points, wanted: Rows) -> dict[str, Any]:
    """The curve of one library."""
    faiss.omp_set_num_threads(1)
    peer, before = PEERS[number], resident_mb()
    index = peer.read(folder / peer.file, queries.shape[1])
    rows = measure_curve(index, peer.dial, Data(np.empty((0, queries.shape[1]), np.float32), queries, wanted))
    return {"rows": rows, "memory_mb": resident_mb() - before}


def milvus_curves(address: str, server: int | None, data: Data) -> dict[str, Any]:
    """The server with its own client at each number of probes, and whole answers of the gallery on it."""
    with closing(open_milvus_gallery(parse_address(address), data.points.shape[1], SHA256)) as gallery:
        if gallery.count() < len(data.points):
            log(f"Milvus is left out: it has {gallery.count()} of {len(data.points)} faces")
            return {}
        connection = MilvusConnection(parse_address(address))
        name = connection.address.collection

        def at(probes: int) -> Search:
            def search(asked: Points) -> Rows:
                (hits,) = connection.call(
                    "search",
                    name,
                    data=list(asked),
                    limit=K,
                    search_params={"metric_type": "L2", "params": {"nprobe": probes}},
                    consistency_level="Eventually",
                )
                return np.array([[int(hit["id"].removeprefix("face-")) for hit in hits]])

            return search

        def whole(_: int) -> Search:
            def search(asked: Points) -> Rows:
                (matches,) = gallery.search(asked, K).matches
                return np.array([[int(match.face.id.removeprefix("face-")) for match in matches]])

            return search

        own = f"Milvus, {gallery.index}"
        curves = {
            own: {"rows": measure_curve(at, PROBES, data)},
            f"mien on {own}, whole answers": {"rows": measure_curve(whole, (0,), data)},
        }
        connection.close()
    if server is not None:
        curves[own]["memory_mb"] = resident_mb(server)  # type: ignore[assignment]
    log(json.dumps(curves))
    return curves


def measure_curve(index: Callable[[int], Search], dial: Sequence[int], data: Data) -> list[dict[str, float]]:
    """Recall and time of single queries at each value of an index's dial."""
    rows = []
    for value in dial:
        search = index(value)
        asked = data.queries[:EXACT_QUERIES] if value == 0 else data.queries
        found = np.concatenate([search(query[None]) for query in asked])
        (ms,) = median_ms([search], list(asked[:, None]))
        recall = recall_of(found, data.wanted[: len(asked)])
        rows.append({"dial": value, "recall": recall, "ms": ms, "queries_per_s": 1000 / ms})
    return rows


def median_ms(searches: Sequence[Callable[[Points], Any]], asked: Sequence[Points]) -> list[float]:
    """Median milliseconds of each search, in turns, so that other work on the machine affects all of them."""
    times: list[list[float]] = [[] for _ in searches]
    for queries in asked:
        for search, own in zip(searches, times, strict=True):
            start = time.perf_counter()
            search(queries)
            own.append(time.perf_counter() - start)
    return [statistics.median(own) * 1000 for own in times]


def found_rows(store: EmbeddedGallery, query: Points, options: SearchOptions | None = None) -> list[int]:
    """The rows of the points that a gallery finds."""
    (matches,) = store.search(query[None], K, options or SearchOptions()).matches
    return [int(match.face.id.removeprefix("face-")) for match in matches]


def resident_mb(process: int | None = None) -> float:
    """Resident memory of a process, by default this one."""
    pages = int(Path(f"/proc/{process or 'self'}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def table(report: dict[str, Any]) -> str:
    """The engines at the first value of their dial that reaches a recall of 0.99, as Markdown."""
    lines = ["| engine | recall@10 | queries/s | MB | build: s, CPU s |", "|---|---|---|---|---|"]
    for name, curve in report["curves"].items():
        row = next((row for row in curve["rows"] if row["recall"] >= 0.99), curve["rows"][-1])
        build = f"{curve['build_s']:.0f}, {curve['build_cpu_s']:.0f}" if "build_s" in curve else ""
        memory = f"{curve['memory_mb']:.0f}" if "memory_mb" in curve else ""
        lines.append(
            f"| {name} ({row['dial']}) | {row['recall']:.4f} | {row['queries_per_s']:,.0f} | {memory} | {build} |"
        )
    return "\n".join(lines)


def plot(report: dict[str, Any], path: Path) -> None:
    """Recall against queries/s."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(8, 5))
    for name, curve in report["curves"].items():
        rows = curve["rows"]
        style: dict[str, Any] = {"linewidth": 2.5, "zorder": 3} if name.startswith("mien") else {"alpha": 0.8}
        recalls = [1 - row["recall"] + 1e-4 for row in rows]
        axes.plot(recalls, [row["queries_per_s"] for row in rows], "o-", markersize=4, label=name, **style)
    axes.set(xscale="log", yscale="log", ylabel="queries/s, batch 1, one thread", xlabel=f"recall@{K}")
    axes.invert_xaxis()
    ticks = (0.8, 0.9, 0.95, 0.99, 0.999, 1.0)
    axes.set_xticks([1 - tick + 1e-4 for tick in ticks], [f"{tick:g}" for tick in ticks])
    axes.set_xticks([], minor=True)
    axes.set_title(f"{report['faces']:,} points of the shipped mixture, {report['dimensions']} dimensions")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(path, dpi=130)


def log(what: str) -> None:
    """Print an intermediate result."""
    print(f"-- {what}", flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
