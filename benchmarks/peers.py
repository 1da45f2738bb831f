"""Libraries for nearest-neighbour search, for comparison: each is built, written to a file, and mapped or read."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import faiss
import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float32]
Rows = NDArray[np.int64]
Search = Callable[[Points], Rows]

K: Final = 10

EFFORTS: Final = (16, 32, 64, 128, 256, 512)
"""The length of a graph's list of candidates."""

PROBES: Final = (8, 12, 16, 18, 24, 32, 64)
"""Inverted lists that are visited (nprobe)."""

_LINKS: Final = 32
_BUILDING_EFFORT: Final = 80
_LISTS: Final = 4096


@dataclass(frozen=True)
class Peer:
    """A library, or a type of index of one.

    Attributes:
        name: for tables and plots.
        file: name of the file of its index.
        dial: the values that trade recall for speed.
        build: builds it over points (n, d) and writes the file.
        read: reads the file; returns the search for each value of the dial.
    """

    name: str
    file: str
    dial: tuple[int, ...]
    build: Callable[[Points, Path], None]
    read: Callable[[Path, int], Callable[[int], Search]]


def _build_flat(points: Points, path: Path) -> None:
    flat = faiss.IndexFlatL2(points.shape[1])
    flat.add(points)
    faiss.write_index(flat, str(path))


def _read_flat(path: Path, size: int) -> Callable[[int], Search]:  # noqa: ARG001
    flat: Any = faiss.read_index(str(path))
    return lambda _: lambda asked: np.asarray(flat.search(asked, K)[1])


def _build_ivf(points: Points, path: Path) -> None:
    ivf = faiss.index_factory(points.shape[1], f"IVF{min(_LISTS, len(points) // 39)},Flat")
    ivf.train(points)
    ivf.add(points)
    faiss.write_index(ivf, str(path))


def _read_ivf(path: Path, size: int) -> Callable[[int], Search]:  # noqa: ARG001
    ivf: Any = faiss.read_index(str(path))

    def at(probes: int) -> Search:
        ivf.nprobe = probes
        return lambda asked: np.asarray(ivf.search(asked, K)[1])

    return at


def _build_graph(points: Points, path: Path) -> None:
    graph = faiss.IndexHNSWFlat(points.shape[1], _LINKS)
    graph.hnsw.efConstruction = _BUILDING_EFFORT
    graph.add(points)
    faiss.write_index(graph, str(path))


def _read_graph(path: Path, size: int) -> Callable[[int], Search]:  # noqa: ARG001
    graph: Any = faiss.read_index(str(path))

    def at(effort: int) -> Search:
        graph.hnsw.efSearch = effort
        return lambda asked: np.asarray(graph.search(asked, K)[1])

    return at


def _build_hnswlib(points: Points, path: Path) -> None:
    import hnswlib

    graph = hnswlib.Index("l2", points.shape[1])
    graph.init_index(len(points), M=_LINKS, ef_construction=_BUILDING_EFFORT)
    graph.add_items(points)
    graph.save_index(str(path))


def _read_hnswlib(path: Path, size: int) -> Callable[[int], Search]:
    import hnswlib

    graph = hnswlib.Index("l2", size)
    graph.load_index(str(path))
    graph.set_num_threads(1)

    def at(effort: int) -> Search:
        graph.set_ef(effort)
        return lambda asked: np.asarray(graph.knn_query(asked, K)[0]).astype(np.int64)

    return at


def _build_usearch(points: Points, path: Path) -> None:
    graph = _usearch(points.shape[1])
    graph.add(np.arange(len(points)), points)
    graph.save(str(path))


def _read_usearch(path: Path, size: int) -> Callable[[int], Search]:
    graph = _usearch(size)
    graph.load(str(path))

    def at(effort: int) -> Search:
        graph.expansion_search = effort
        return lambda asked: np.asarray(graph.search(asked[0], K).keys)[None].astype(np.int64)

    return at


def _usearch(size: int) -> Any:
    from usearch.index import Index

    return Index(ndim=size, metric="l2sq", dtype="f32", connectivity=_LINKS, expansion_add=_BUILDING_EFFORT)


PEERS: Final = (
    Peer("FAISS Flat (exact)", "flat.faiss", (0,), _build_flat, _read_flat),
    Peer("FAISS IVF4096,Flat", "ivf.faiss", PROBES, _build_ivf, _read_ivf),
    Peer("FAISS HNSW32", "hnsw.faiss", EFFORTS, _build_graph, _read_graph),
    Peer("hnswlib M32", "graph.hnswlib", EFFORTS, _build_hnswlib, _read_hnswlib),
    Peer("usearch f32 M32", "graph.usearch", EFFORTS, _build_usearch, _read_usearch),
)
