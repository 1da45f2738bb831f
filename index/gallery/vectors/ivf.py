"""Cells: approximate search in a large gallery. Faces are sorted into cells, and a query looks into the nearest ones.

The faces in the cells are kept in half precision, which takes half the memory and chooses as well: distances are
computed anew from the faces themselves.

How many cells a query must look into is measured on the faces themselves, when the cells are made. K-means starts from
arbitrary faces: starting it from points drawn from the mixture of sub-classes made no cells that were better, and none
sooner (docs/gallery.md has the figures).
"""

from typing import Final

import faiss
import numpy as np
from numpy.typing import NDArray

from mien.index.gallery.vectors.vectors import SPARE

SAMPLE_PER_CELL: Final = 48
"""Faces that k-means sees for each cell."""

ITERATIONS: Final = 4

MEASURED_QUERIES: Final = 500
"""Faces of the gallery that the number of probed cells is measured with."""

MEASURED_K: Final = 10

RECALL: Final = 0.995
"""What is asked of that measurement: more than is promised, as it is a sample."""


class Cells:
    """An inverted file over a base; positions in it are what a search answers. Thread-safe.

    Attributes:
        count: of cells.
        centroids: (c, d) float32.
        of_face: (n,) the cell of each face.
        recall: recall@10 that was measured with so many, on faces of the gallery.
    """

    def __init__(
        self, base: NDArray[np.float32], centroids: NDArray[np.float32], of_face: NDArray[np.int64], probes: int = 1
    ) -> None:
        """Sort the faces of a base into cells that are known.

        Args:
            base: (n, d) float32.
            centroids: (c, d) float32 of the cells.
            of_face: (n,) the cell of each face; where it is -1, it is the nearest.
            probes: how many cells a query looks into.
        """
        size = base.shape[1]
        self.count = len(centroids)
        self.centroids = centroids
        self._coarse = faiss.IndexFlatL2(size)
        self._coarse.add(centroids)
        self.of_face = of_face.astype(np.int64)
        unknown = np.flatnonzero(self.of_face < 0)
        if len(unknown):
            self.of_face[unknown] = self._coarse.search(np.ascontiguousarray(base[unknown]), 1)[1][:, 0]
        half = faiss.ScalarQuantizer.QT_fp16
        self._faiss_index = faiss.IndexIVFScalarQuantizer(
            self._coarse,
            size,
            self.count,
            half,
            faiss.METRIC_L2,
            False,  # noqa: FBT003 - no residuals
        )
        self._faiss_index.train(centroids)  # nothing is learnt: half precision is ready as it is
        positions = np.arange(len(base), dtype=np.int64)
        self._faiss_index.add_core(
            len(base), *(faiss.swig_ptr(each) for each in (np.ascontiguousarray(base), positions, self.of_face))
        )
        self.probes = probes
        self.recall = float("nan")

    @classmethod
    def made(cls, base: NDArray[np.float32], *, recall: float = RECALL) -> "Cells":
        """Find cells for the faces of a base, and measure how many of them a query must look into.

        Args:
            base: (n, d) float32.
            recall: recall@10 that the measurement must reach.
        """
        size = base.shape[1]
        count = int(min(4 * np.sqrt(len(base)), len(base) / 39))
        generator = np.random.default_rng(0)
        sample = base[np.sort(generator.choice(len(base), min(len(base), SAMPLE_PER_CELL * count), replace=False))]
        clustering = faiss.Clustering(size, count)
        clustering.niter = ITERATIONS
        clustering.min_points_per_centroid = 1
        clustering.max_points_per_centroid = SAMPLE_PER_CELL
        clustering.seed = 1234
        clustering.train(np.ascontiguousarray(sample), faiss.IndexFlatL2(size))
        centroids = faiss.vector_to_array(clustering.centroids).reshape(count, size)
        cells = cls(base, centroids, np.full(len(base), -1))
        queries = base[np.sort(generator.choice(len(base), min(len(base), MEASURED_QUERIES), replace=False))]
        # A face is a query like any other but for itself, which it always finds.
        wanted = faiss.knn(queries, base, min(MEASURED_K + 1, len(base)))[1][:, 1:]
        cells.probes, cells.recall = cells._measured(queries, wanted, recall)
        return cells

    @property
    def probes(self) -> int:
        """How many cells a query looks into."""
        return self._probes

    @probes.setter
    def probes(self, probes: int) -> None:
        self._probes = probes
        self._parameters = faiss.SearchParametersIVF(nprobe=probes)  # type: ignore[call-arg]

    def search(self, queries: NDArray[np.float32], count: int) -> NDArray[np.int64]:
        """(q, count) positions of near faces, nearest first; -1 where the cells held fewer."""
        positions: NDArray[np.int64] = self._faiss_index.search(queries, count, params=self._parameters)[1]
        return positions

    def _measured(self, queries: NDArray[np.float32], wanted: NDArray[np.int64], recall: float) -> tuple[int, float]:
        """The least number of probes, in steps of a quarter, that reaches the recall; and what it reaches."""
        probes, reached = 4, 0.0
        while True:
            self.probes = min(probes, self.count)
            found = self.search(queries, wanted.shape[1] + 1 + SPARE)
            reached = recall_of(found, wanted)
            if reached >= recall or self.probes == self.count:
                return self.probes, reached
            probes = max(probes + 1, int(probes * 1.25))


def recall_of(found: NDArray[np.int64], wanted: NDArray[np.int64]) -> float:
    """The share of the wanted (q, k) that was found (q, m), mean over the queries."""
    hits = [len(np.intersect1d(some, others)) for some, others in zip(found, wanted, strict=True)]
    return float(np.sum(hits) / wanted.size)
