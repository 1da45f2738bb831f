"""Approximate search in a large gallery: FAISS's inverted lists, and the file that keeps them.

The vectors of a list are kept in half precision, which takes half the memory and chooses as well: distances are
computed again from the embeddings themselves.

``nprobe``, the number of lists that a query looks into, is measured on the gallery's own faces when the index is built.
K-means starts from arbitrary faces: starting it from points drawn from the mixture of sub-classes made no better lists,
and no sooner (docs/gallery.md has the figures).
"""

import zipfile
from pathlib import Path
from typing import Final

import faiss
import numpy as np
from numpy.typing import NDArray

from mien.index.errors import GalleryError
from mien.index.gallery.vectors.vectors_file import VectorsFile
from mien.index.gallery.vectors.view import SPARE
from mien.model.files import write_atomically

SAMPLE_PER_LIST: Final = 48
"""Faces that k-means sees for each list."""

ITERATIONS: Final = 4

MEASURED_QUERIES: Final = 500
"""Faces of the gallery that ``nprobe`` is measured with."""

MEASURED_K: Final = 10

MIN_RECALL: Final = 0.995
"""The recall@10 that ``nprobe`` must reach in the measurement: more than is promised, as it is a sample."""


class IvfIndex:
    """Inverted lists over a sealed segment; a search returns positions in it. Thread-safe.

    Attributes:
        nlist: number of lists.
        centroids: (nlist, d) float32.
        assignments: (n,) int64, the list of each vector.
        recall: recall@10 that was measured with ``nprobe``, on faces of the gallery.
    """

    def __init__(
        self, sealed: NDArray[np.float32], centroids: NDArray[np.float32], assignments: NDArray[np.int64], nprobe: int
    ) -> None:
        """Fill lists whose centroids are known.

        Args:
            sealed: (n, d) float32.
            centroids: (nlist, d) float32.
            assignments: (n,) the list of each vector; -1 takes the nearest.
            nprobe: how many lists a query looks into.
        """
        size = sealed.shape[1]
        self.nlist = len(centroids)
        self.centroids = centroids
        self._coarse = faiss.IndexFlatL2(size)
        self._coarse.add(centroids)
        self.assignments = assignments.astype(np.int64)
        unknown = np.flatnonzero(self.assignments < 0)
        if len(unknown):
            self.assignments[unknown] = self._coarse.search(np.ascontiguousarray(sealed[unknown]), 1)[1][:, 0]
        half = faiss.ScalarQuantizer.QT_fp16
        self._faiss_index = faiss.IndexIVFScalarQuantizer(
            self._coarse,
            size,
            self.nlist,
            half,
            faiss.METRIC_L2,
            False,  # noqa: FBT003 - no residuals
        )
        self._faiss_index.train(centroids)  # half precision needs no training, but FAISS insists
        positions = np.arange(len(sealed), dtype=np.int64)
        self._faiss_index.add_core(
            len(sealed), *(faiss.swig_ptr(each) for each in (np.ascontiguousarray(sealed), positions, self.assignments))
        )
        self.nprobe = nprobe
        self.recall = float("nan")

    @classmethod
    def build(cls, sealed: NDArray[np.float32], *, min_recall: float = MIN_RECALL) -> "IvfIndex":
        """Find lists for the vectors of a segment, and measure ``nprobe``.

        Args:
            sealed: (n, d) float32.
            min_recall: recall@10 that the measurement must reach.
        """
        size = sealed.shape[1]
        nlist = int(min(4 * np.sqrt(len(sealed)), len(sealed) / 39))
        generator = np.random.default_rng(0)
        sample_size = min(len(sealed), SAMPLE_PER_LIST * nlist)
        sample = sealed[np.sort(generator.choice(len(sealed), sample_size, replace=False))]
        clustering = faiss.Clustering(size, nlist)
        clustering.niter = ITERATIONS
        clustering.min_points_per_centroid = 1
        clustering.max_points_per_centroid = SAMPLE_PER_LIST
        clustering.seed = 1234
        clustering.train(np.ascontiguousarray(sample), faiss.IndexFlatL2(size))
        centroids = faiss.vector_to_array(clustering.centroids).reshape(nlist, size)
        ivf = cls(sealed, centroids, np.full(len(sealed), -1), nprobe=1)
        queries = sealed[np.sort(generator.choice(len(sealed), min(len(sealed), MEASURED_QUERIES), replace=False))]
        # A face of the gallery is a query like any other, except that it always finds itself.
        wanted = faiss.knn(queries, sealed, min(MEASURED_K + 1, len(sealed)))[1][:, 1:]
        ivf._tune(queries, wanted, min_recall)
        return ivf

    @property
    def nprobe(self) -> int:
        """How many lists a query looks into."""
        return self._nprobe

    @nprobe.setter
    def nprobe(self, nprobe: int) -> None:
        self._nprobe = nprobe
        self._parameters = faiss.SearchParametersIVF(nprobe=nprobe)  # type: ignore[call-arg]

    def search(self, queries: NDArray[np.float32], count: int) -> NDArray[np.int64]:
        """(q, count) positions of near vectors, nearest first; -1 where the lists have fewer."""
        positions: NDArray[np.int64] = self._faiss_index.search(queries, count, params=self._parameters)[1]
        return positions

    def _tune(self, queries: NDArray[np.float32], wanted: NDArray[np.int64], min_recall: float) -> None:
        """Set the smallest ``nprobe``, in steps of a quarter, that reaches a recall."""
        nprobe = 4
        while True:
            self.nprobe = min(nprobe, self.nlist)
            self.recall = recall_of(self.search(queries, wanted.shape[1] + 1 + SPARE), wanted)
            if self.recall >= min_recall or self.nprobe == self.nlist:
                return
            nprobe = max(nprobe + 1, int(nprobe * 1.25))


def recall_of(found: NDArray[np.int64], wanted: NDArray[np.int64]) -> float:
    """The share of the wanted (q, k) that was found (q, m), mean over the queries."""
    hits = [len(np.intersect1d(some, others)) for some, others in zip(found, wanted, strict=True)]
    return float(np.sum(hits) / wanted.size)


def write_ivf(path: Path, ivf: IvfIndex, positions: NDArray[np.int64], vectors: VectorsFile) -> None:
    """Write inverted lists, whole or not at all, so that a restart need not build them.

    Args:
        path: of the file.
        ivf: the lists.
        positions: (n,) ascending, of the vectors file's vectors in the index; those beyond its end have no list yet.
        vectors: the vectors file that the lists belong to.
    """
    assignments = np.full(len(positions), -1, dtype=np.int32)
    in_lists = positions < len(ivf.assignments)
    assignments[in_lists] = ivf.assignments[positions[in_lists]]
    with write_atomically(path, private=True) as file:
        np.savez(
            file,
            generation=np.array(vectors.generation),
            counter=np.array(vectors.counter),
            centroids=ivf.centroids,
            of_face=assignments,
            probes=np.array(ivf.nprobe),
            recall=np.array(ivf.recall),
        )


def read_ivf(path: Path, vectors: VectorsFile) -> IvfIndex | None:
    """Read inverted lists over the embeddings of a vectors file; None if they belong to another one.

    Raises:
        GalleryError: the file is broken.
        FileNotFoundError: there is none.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            origin = str(file["generation"]), int(file["counter"])
            centroids = file["centroids"].astype(np.float32)
            assignments = file["of_face"].astype(np.int64)
            nprobe, recall = int(file["probes"]), float(file["recall"])
    except FileNotFoundError:
        raise
    except (OSError, ValueError, EOFError, KeyError, TypeError, zipfile.BadZipFile) as error:
        raise GalleryError(f"{path} is broken: {error}") from None
    nlist = len(centroids)
    fits = centroids.ndim == 2 and assignments.ndim == 1 and 1 <= nprobe <= nlist
    if not fits or (len(assignments) and not -1 <= assignments.min() <= assignments.max() < nlist):
        raise GalleryError(f"{path} is broken: its parts do not fit together")
    shape = len(assignments), centroids.shape[1]
    if origin != (vectors.generation, vectors.counter) or shape != vectors.embeddings.shape:
        return None
    ivf = IvfIndex(vectors.embeddings, centroids, assignments, nprobe)
    ivf.recall = recall
    return ivf
