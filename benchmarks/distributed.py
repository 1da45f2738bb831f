"""The distributed gallery on a Milvus server against the embedded one and bare FAISS: same data, one run.

    python benchmarks/distributed.py milvus://127.0.0.1:19530/benchmark --server-pid 4711 --faces 100000

Embeddings and queries are drawn from the mixture of the bundle that ships. For each index a new gallery is created,
filled through ``add`` (durable, checked for conflicts), and dropped at the end. Searches are timed in wall-clock time,
one client waiting for each answer, and in CPU seconds, the server on the same machine included: these are also valid
on a machine with other work.
"""

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, get_args

import numpy as np
from numpy.typing import NDArray
from points import draw_points

from mien.index.gallery.embedded.gallery import EmbeddedGallery, open_embedded_gallery
from mien.index.gallery.face import GalleryFace
from mien.index.gallery.filters import parse_filter
from mien.index.gallery.milvus.address import IndexType, parse_address
from mien.index.gallery.milvus.connection import MilvusConnection
from mien.index.gallery.milvus.gallery import MilvusGallery, open_milvus_gallery
from mien.index.gallery.store import EVERYTHING, SearchOptions
from mien.index.gallery.vectors.flat import ExactSearch
from mien.index.gallery.vectors.policy import IndexKind, IndexPolicy

NETWORK: Final = "0" * 64
K: Final = 10
PERCENT: Final = 100
RARE: Final = 7
SINGLE: Final = 64
"""Number of queries that are sent one by one."""

Gallery = EmbeddedGallery | MilvusGallery


@dataclass(frozen=True)
class Data:
    """Points, queries and the true neighbours.

    Attributes:
        points: (n, d) float32.
        queries: (q, d) float32.
        nearest: (q, k) rows of the nearest points.
        rare_nearest: (q, k) the same among those that pass the filter.
        server: process number of the server, if it is on this machine.
    """

    points: NDArray[np.float32]
    queries: NDArray[np.float32]
    nearest: NDArray[np.int64]
    rare_nearest: NDArray[np.int64]
    server: int | None


def main() -> None:
    """Measure each engine and print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("address", help="address of a running server; its collection is a prefix of new ones")
    parser.add_argument("--server-pid", type=int, help="process number of the server, if it is on this machine")
    parser.add_argument("--faces", type=int, default=100_000, help="default: 100000")
    parser.add_argument("--queries", type=int, default=256, help="default: 256")
    parser.add_argument("--indexes", nargs="+", choices=get_args(IndexType), default=get_args(IndexType))
    arguments = parser.parse_args()

    points, queries = draw_points(arguments.faces, 0), draw_points(arguments.queries, 1)
    exact = ExactSearch(points)
    rare = np.arange(RARE, len(points), PERCENT)
    rare_nearest = rare[ExactSearch(points[rare]).search(queries, K)[0]]
    data = Data(points, queries, exact.search(queries, K)[0], rare_nearest, arguments.server_pid)
    batch = f"batch {len(queries)}: q/s, q/CPU s"
    line("engine", "added/s", f"recall@{K}", "batch 1: ms, q/CPU s", batch, "1 % filter: recall, ms, q/CPU s")
    line("FAISS, bare, exact", "", "1.0000", *speeds(lambda asked: exact.search(asked, K), data), "")
    kinds: tuple[IndexKind, ...] = ("exact", "ivf")
    for kind in kinds:
        with tempfile.TemporaryDirectory() as folder:
            policy = IndexPolicy(kind=kind)
            gallery = open_embedded_gallery(Path(folder) / "gallery", points.shape[1], NETWORK, policy=policy)
            measure(f"embedded, {kind}", gallery, gallery.wait_for_index, data)
            gallery.close()
    for index in arguments.indexes:
        address = parse_address(arguments.address)
        address = replace(address, index=index, collection=f"{address.collection}_{index}")
        distributed = open_milvus_gallery(address, points.shape[1], NETWORK)
        connection = MilvusConnection(address)
        try:
            measure(f"Milvus, {index}", distributed, lambda: settle(connection), data)  # noqa: B023
        finally:
            distributed.close()
            drop(connection)
            connection.close()


def measure(name: str, gallery: Gallery, settled: Callable[[], object], data: Data) -> None:
    """Fill a gallery, search it, and print its line."""
    faces = [
        GalleryFace(f"face{row:08d}", point, emotion="fear", subject=f"s{row % 1000}", metadata={"bin": row % PERCENT})
        for row, point in enumerate(data.points)
    ]
    began = time.perf_counter()
    for start in range(0, len(faces), 2000):
        gallery.add(faces[start : start + 2000])
    added = len(faces) / (time.perf_counter() - began)
    settled()
    rare = SearchOptions(filter=parse_filter({"metadata.bin": RARE}))
    rare_ms, rare_rate = singly(lambda asked: gallery.search(asked, K, rare), data)
    line(
        name,
        f"{added:.0f}",
        f"{recall(gallery, data.queries, data.nearest, EVERYTHING):.4f}",
        *speeds(lambda asked: gallery.search(asked, K), data),
        f"{recall(gallery, data.queries[:SINGLE], data.rare_nearest, rare):.4f}, {rare_ms:.1f}, {rare_rate:.0f}",
    )


def recall(gallery: Gallery, queries: NDArray[np.float32], nearest: NDArray[np.int64], options: SearchOptions) -> float:
    """The share of the true nearest faces that a search finds."""
    matches = gallery.search(queries, K, options).matches
    got = [{int(match.face.id.removeprefix("face")) for match in each} for each in matches]
    return float(np.mean([len(each & set(row)) / K for each, row in zip(got, nearest.tolist(), strict=False)]))


def speeds(search: Callable[[NDArray[np.float32]], object], data: Data) -> tuple[str, str]:
    """The table cells for single queries and for the batch."""
    milliseconds, by_cpu = singly(search, data)
    clock, cpu = [], []
    for _ in range(5):
        began, began_cpu = time.perf_counter(), cpu_s(data.server)
        search(data.queries)
        clock.append(time.perf_counter() - began)
        cpu.append(cpu_s(data.server) - began_cpu)
    many = len(data.queries)
    batch = f"{many / statistics.median(clock):.0f}, {many / statistics.median(cpu):.0f}"
    return f"{milliseconds:.1f}, {by_cpu:.0f}", batch


def singly(search: Callable[[NDArray[np.float32]], object], data: Data) -> tuple[float, float]:
    """Median milliseconds of a single query, and single queries per CPU second."""
    clock = []
    search(data.queries[:1])
    began_cpu = cpu_s(data.server)
    for query in data.queries[:SINGLE]:
        began = time.perf_counter()
        search(query[None])
        clock.append(time.perf_counter() - began)
    return 1000 * statistics.median(clock), len(clock) / (cpu_s(data.server) - began_cpu)


def cpu_s(server: int | None) -> float:
    """CPU seconds that this process and the server have used."""
    own = time.process_time()
    if server is None:
        return own
    fields = Path(f"/proc/{server}/stat").read_text().rpartition(")")[2].split()
    return own + (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def settle(connection: MilvusConnection) -> None:
    """Make the server seal and index all segments, as it does by itself after some minutes."""
    name = connection.address.collection
    connection.call("flush", name)
    while connection.call("describe_index", name, "embedding")["pending_index_rows"]:
        time.sleep(1)
    time.sleep(10)


def drop(connection: MilvusConnection) -> None:
    """Drop the gallery's collection."""
    name = connection.address.collection
    collection = connection.call("describe_collection", name)["collection_name"]
    connection.call("drop_alias", name)
    connection.call("drop_collection", collection)


def line(*cells: str) -> None:
    """Print a row of the table."""
    sys.stdout.write("| " + " | ".join(cells) + " |\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
