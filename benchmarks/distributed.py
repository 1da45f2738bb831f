"""How fast the distributed gallery is on a Milvus server, side by side with bare FAISS on the same embeddings.

    python benchmarks/distributed.py milvus://127.0.0.1:19530/benchmark --faces 100000

Embeddings are drawn from a mixture of 32 Gaussians in 64 dimensions, queries likewise. For each index a gallery of its
own is made, filled through ``add`` (durable, checked for conflicts), and dropped at the end. Queries/s are those of one
client that waits for each answer; server and client share the machine.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Final, get_args

import numpy as np
from numpy.typing import NDArray

from index.exact import ExactSearch
from index.filters import parse_filter
from index.gallery_store import EVERYTHING, GalleryFace, SearchOptions
from index.milvus_address import IndexType, parse_address
from index.milvus_connection import MilvusConnection
from index.milvus_gallery import MilvusGallery, open_milvus_gallery

DIMENSIONS: Final = 64
COMPONENTS: Final = 32
NETWORK: Final = "0" * 64
K: Final = 10
PERCENT: Final = 100


def main() -> None:
    """Measure each index and print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("address", help="of a server that runs; the collection's name begins those that are made")
    parser.add_argument("--faces", type=int, default=100_000, help="default: 100000")
    parser.add_argument("--queries", type=int, default=256, help="default: 256")
    parser.add_argument("--indexes", nargs="+", choices=get_args(IndexType), default=get_args(IndexType))
    arguments = parser.parse_args()

    generator = np.random.default_rng(0)
    centres = 2 * generator.normal(size=(COMPONENTS, DIMENSIONS))
    points, queries = (
        (centres[generator.integers(0, COMPONENTS, count)] + generator.normal(size=(count, DIMENSIONS))).astype(
            np.float32
        )
        for count in (arguments.faces, arguments.queries)
    )
    exact = ExactSearch(points)
    truth, _ = exact.search(queries, K)
    line(
        "engine",
        "added/s",
        f"recall@{K}",
        "batch 1 q/s",
        f"batch {len(queries)} q/s",
        "1 % filter: recall, q/s",
        "own write found",
    )
    one = rate(lambda: exact.search(queries[:1], K), 1)
    line(
        "FAISS, bare, exact",
        "",
        "1.000",
        f"{one:.0f}",
        f"{rate(lambda: exact.search(queries, K), len(queries)):.0f}",
        "",
        "",
    )
    for index in arguments.indexes:
        address = parse_address(arguments.address)
        address = replace(address, index=index, collection=f"{address.collection}_{index}")
        gallery = open_milvus_gallery(address, DIMENSIONS, NETWORK)
        try:
            measure(gallery, MilvusConnection(address), points, queries, truth)
        finally:
            gallery.close()
            drop(MilvusConnection(address))


def measure(
    gallery: MilvusGallery,
    connection: MilvusConnection,
    points: NDArray[np.float32],
    queries: NDArray[np.float32],
    truth: NDArray[np.int64],
) -> None:
    """Fill a gallery, search it, and print its line."""
    faces = [
        GalleryFace(f"face{row:08d}", point, emotion="fear", subject=f"s{row % 1000}", metadata={"bin": row % PERCENT})
        for row, point in enumerate(points)
    ]
    began = time.perf_counter()
    for start in range(0, len(faces), 2000):
        gallery.add(faces[start : start + 2000])
    added = len(faces) / (time.perf_counter() - began)
    settle(connection)

    rare = SearchOptions(filter=parse_filter({"metadata.bin": 7}))
    rows = np.arange(7, len(points), PERCENT)
    rare_truth = rows[ExactSearch(points[rows]).search(queries[:32], K)[0]]
    began = time.perf_counter()
    gallery.add([GalleryFace("the last", queries[0])])
    found = gallery.search(queries[:1], 1).matches[0][0].face.id == "the last"
    own_ms = 1000 * (time.perf_counter() - began)
    gallery.delete(["the last"])
    time.sleep(1)
    line(
        f"Milvus, {gallery.index}",
        f"{added:.0f}",
        f"{recall(gallery, queries, truth, EVERYTHING):.4f}",
        f"{singly(gallery, queries[:64], EVERYTHING):.0f}",
        f"{rate(lambda: gallery.search(queries, K), len(queries)):.0f}",
        f"{recall(gallery, queries[:32], rare_truth, rare):.4f}, {singly(gallery, queries[:32], rare):.0f}",
        f"{own_ms:.0f} ms" if found else "not found",
    )


def recall(
    gallery: MilvusGallery, queries: NDArray[np.float32], truth: NDArray[np.int64], options: SearchOptions
) -> float:
    """The share of the true nearest that a search finds."""
    matches = gallery.search(queries, K, options).matches
    got = [{int(match.face.id.removeprefix("face")) for match in each} for each in matches]
    return float(np.mean([len(each & set(row)) / K for each, row in zip(got, truth.tolist(), strict=True)]))


def singly(gallery: MilvusGallery, queries: NDArray[np.float32], options: SearchOptions) -> float:
    """Queries a second, one after the other; by the median."""
    seconds = []
    for query in queries:
        began = time.perf_counter()
        gallery.search(query[None], K, options)
        seconds.append(time.perf_counter() - began)
    return 1 / statistics.median(seconds)


def rate(call: Callable[[], object], queries: int, calls: int = 5) -> float:
    """Queries a second of a call that makes so many; by the median."""
    seconds = []
    for _ in range(calls):
        began = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - began)
    return queries / statistics.median(seconds)


def settle(connection: MilvusConnection) -> None:
    """Let the server put what was added into sealed segments with an index, as it does by itself after some minutes."""
    name = connection.address.collection
    connection.call("flush", name)
    while connection.call("describe_index", name, "embedding")["pending_index_rows"]:
        time.sleep(1)
    time.sleep(10)
    connection.close()


def drop(connection: MilvusConnection) -> None:
    """Take the gallery away."""
    name = connection.address.collection
    collection = connection.call("describe_collection", name)["collection_name"]
    connection.call("drop_alias", name)
    connection.call("drop_collection", collection)
    connection.close()


def line(*cells: str) -> None:
    """Print a row of the table."""
    sys.stdout.write("| " + " | ".join(cells) + " |\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
