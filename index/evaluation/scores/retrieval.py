"""Retrieval: how well the gallery is ranked for the faces of a data set, block by block of queries.

Source of MAP@R: Musgrave, Belongie, Lim: *A Metric Learning Reality Check*, arXiv 2003.08505.
"""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mien.index.errors import QueryError
from mien.index.evaluation.held_out import HeldOutFaces
from mien.index.evaluation.scores.intervals import Scores, percentile_interval, resampled_means
from mien.index.gallery.fixed_gallery import FixedGallery
from mien.model.emotions import EMOTIONS
from mien.model.errors import DatasetError

RECALL_DEPTHS: Final = (1, 2, 4, 8)
"""The k of recall_at_k."""

PRECISION_DEPTH: Final = 10
"""The k of precision_at_k."""

_QUERIES_AT_ONCE: Final = 128

_CELLS_AT_ONCE: Final = 2**21
"""Ranks that are scored together; some 100 MB of working memory."""


class RankingTally:
    """Collects the retrieval metrics of many queries from blocks of rankings; memory does not grow with the gallery.

    The query itself and its near copies, which would be found by their pixels and not by their expression, are left out
    of a ranking. Faces without a label (``UNLABELLED``) stay in it, relevant to no query. Faces at equal distance count
    in the order of the ranking.

    Args:
        class_names: the c names, in the order of the labels.
        gallery_labels: (m,) class indices, or negative for a face without a label.
        gallery_groups: (m,) group of near copies of each face, negative for a face without copies; None where there
            are no copies.

    Example:
        >>> tally = RankingTally(("joy", "fear"), gallery_labels=np.array([0, 1, 0]))
        >>> tally.add(np.array([[1, 0, 2]]), query_labels=np.array([0]))
        >>> tally.result()["recall_at_2"]
        1.0
    """

    def __init__(
        self,
        class_names: Sequence[str],
        gallery_labels: NDArray[np.integer],
        gallery_groups: NDArray[np.integer] | None = None,
    ) -> None:
        if gallery_groups is not None and gallery_groups.shape != gallery_labels.shape:
            raise QueryError(
                f"expected one group for each of {gallery_labels.size} gallery faces, got {gallery_groups.size}"
            )
        self._class_names = tuple(class_names)
        self._gallery_labels = gallery_labels
        self._gallery_groups = gallery_groups
        self._left_out = 0
        self._labels: list[NDArray[np.int64]] = []
        self._blocks: list[dict[str, NDArray[np.float64]]] = []

    def add(
        self,
        ranked: NDArray[np.integer],
        query_labels: NDArray[np.integer],
        query_groups: NDArray[np.integer] | None = None,
        query_rows: NDArray[np.integer] | None = None,
    ) -> None:
        """Add the rankings of some queries.

        Args:
            ranked: (q, m) gallery rows in ascending order of distance, each face of the gallery once per query.
            query_labels: (q,) class indices; a query without a label (negative) is left out.
            query_groups: (q,) groups of near copies, numbered as the gallery's.
            query_rows: (q,) the gallery row of each query, for leave-one-out within a split; None when the queries are
                not in the gallery.

        Raises:
            QueryError: a ranking does not cover the gallery, or the arguments differ in length.
        """
        self._check(ranked, query_labels, query_groups, query_rows)
        step = max(1, _CELLS_AT_ONCE // max(1, ranked.shape[1]))
        for start in range(0, len(ranked), step):
            part = slice(start, start + step)
            counts = self._counts(
                ranked[part],
                query_groups[part] if query_groups is not None else None,
                query_rows[part] if query_rows is not None else None,
            )
            self._gather(ranked[part], counts, query_labels[part])

    def result(self) -> dict[str, Any]:
        """The scores of all queries so far: means over those that have a relevant gallery face.

        A gallery face is relevant to a query when both have the same label.

        Returns:
            JSON values: ``queries``, how many were scored; ``queries_left_out``, how many have no relevant face;
            ``recall_at_1``, ``_2``, ``_4`` and ``_8``, the share of queries with a relevant face among the first k;
            ``precision_at_10``, where places beyond the end of a small gallery count as not relevant;
            ``mean_average_precision``, over the whole ranking; ``mean_average_precision_at_r``, MAP@R, in which of R
            relevant faces those beyond rank R count as precision 0; ``mean_average_precision_per_class``, class name
            to the mean over its queries, None where there is none.

        Raises:
            DatasetError: no query has a relevant gallery face.
        """
        figures, labels = self.per_query(), np.concatenate([np.zeros(0, np.int64), *self._labels])
        if len(labels) == 0:
            raise DatasetError(
                f"retrieval scores need a query with a relevant gallery face, got none among {self._left_out} queries"
            )
        classes = len(self._class_names)
        counts = np.bincount(labels, minlength=classes)
        totals = np.bincount(labels, weights=figures["mean_average_precision"], minlength=classes)
        return {
            "queries": len(labels),
            "queries_left_out": self._left_out,
            **{name: float(values.mean()) for name, values in figures.items()},
            "mean_average_precision_per_class": {
                name: float(total / count) if count else None
                for name, total, count in zip(self._class_names, totals, counts, strict=True)
            },
        }

    def per_query(self) -> dict[str, NDArray[np.float64]]:
        """The figures of which ``result`` is the mean, by name: (q,) of the scored queries, in their order."""
        names = self._blocks[0] if self._blocks else ()
        return {name: np.concatenate([block[name] for block in self._blocks]) for name in names}

    def _check(
        self,
        ranked: NDArray[np.integer],
        query_labels: NDArray[np.integer],
        query_groups: NDArray[np.integer] | None,
        query_rows: NDArray[np.integer] | None,
    ) -> None:
        gallery = self._gallery_labels.size
        if ranked.ndim != 2 or ranked.shape[1] != gallery:
            raise QueryError(f"a ranking must cover all {gallery} gallery faces, got an array of shape {ranked.shape}")
        if ranked.size and (ranked.min() < 0 or ranked.max() >= gallery):
            raise QueryError(f"gallery rows must be from 0 to {gallery - 1}, got {ranked.min()} to {ranked.max()}")
        for name, values in (("label", query_labels), ("group", query_groups), ("gallery row", query_rows)):
            if values is not None and values.shape != ranked.shape[:1]:
                raise QueryError(f"expected one {name} for each of {len(ranked)} queries, got {values.size}")
        if query_labels.size and query_labels.max() >= len(self._class_names):
            raise QueryError(f"labels of queries must be up to {len(self._class_names) - 1}, got {query_labels.max()}")
        if (query_groups is None) != (self._gallery_groups is None):
            raise QueryError("near copies need the groups of both queries and gallery, got only one of them")

    def _counts(
        self,
        ranked: NDArray[np.integer],
        query_groups: NDArray[np.integer] | None,
        query_rows: NDArray[np.integer] | None,
    ) -> NDArray[np.bool_]:
        """(q, m) bool: the ranked faces that are neither the query itself nor near copies of it."""
        counts = np.ones(ranked.shape, dtype=np.bool_)
        if query_rows is not None:
            counts &= ranked != query_rows[:, None]
        if query_groups is not None and self._gallery_groups is not None:
            groups = query_groups[:, None]
            counts &= (self._gallery_groups[ranked] != groups) | (groups < 0)
        return counts

    def _gather(
        self, ranked: NDArray[np.integer], counts: NDArray[np.bool_], query_labels: NDArray[np.integer]
    ) -> None:
        labels = query_labels[:, None]
        relevant = counts & (self._gallery_labels[ranked] == labels) & (labels >= 0)  # (q, m)
        relevant_count = relevant.sum(axis=1)  # (q,), R
        scored = relevant_count > 0

        # One entry per pair of query and relevant face, in the order of the ranking.
        query, place = np.nonzero(relevant)
        rank = counts.cumsum(axis=1, dtype=np.int32)[query, place]
        first = np.concatenate(([0], relevant_count.cumsum()[:-1]))[query]
        precision = (np.arange(query.size) - first + 1) / rank

        within_r = rank <= relevant_count[query]
        at_r = np.bincount(query, weights=precision * within_r, minlength=len(ranked))
        full = np.bincount(query, weights=precision, minlength=len(ranked))
        first_rank = rank[np.arange(query.size) == first]  # one per scored query
        near = np.bincount(query, weights=rank <= PRECISION_DEPTH, minlength=len(ranked))

        self._left_out += int((~scored).sum())
        self._labels.append(query_labels[scored].astype(np.int64))
        self._blocks.append(
            {f"recall_at_{depth}": (first_rank <= depth).astype(np.float64) for depth in RECALL_DEPTHS}
            | {
                "precision_at_10": near[scored] / PRECISION_DEPTH,
                "mean_average_precision": full[scored] / relevant_count[scored],
                "mean_average_precision_at_r": at_r[scored] / relevant_count[scored],
            }
        )


def score_retrieval(
    gallery: FixedGallery,
    gallery_labels: NDArray[np.int64],
    gallery_groups: NDArray[np.int64],
    queries: HeldOutFaces,
    *,
    query_rows: NDArray[np.int64] | None = None,
    emotions: tuple[str, ...] = EMOTIONS,
) -> Scores:
    """Rank the gallery for each query, and score the rankings, with intervals; near copies of a query are left out.

    Args:
        gallery: of m faces.
        gallery_labels: (m,) indices into ``emotions``.
        gallery_groups: (m,) of near copies.
        queries: q faces, their groups numbered as the gallery's.
        query_rows: (q,) the gallery row of each query, which is left out, too; None when they are not in the gallery.
        emotions: (c,) names.

    Raises:
        DatasetError: no query has a relevant gallery face.
    """
    tally = RankingTally(emotions, gallery_labels, gallery_groups)
    for start in range(0, len(queries.labels), _QUERIES_AT_ONCE):
        part = slice(start, start + _QUERIES_AT_ONCE)
        ranked, _ = gallery.ranking(queries.embeddings[part], len(gallery))
        rows = query_rows[part] if query_rows is not None else None
        tally.add(ranked, queries.labels[part], queries.groups[part], rows)
    scores, figures = tally.result(), tally.per_query()
    resampled = resampled_means(np.stack(list(figures.values()), axis=1))
    intervals = {name: percentile_interval(means) for name, means in zip(figures, resampled.T, strict=True)}
    return scores, intervals
