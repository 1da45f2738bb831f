"""Retrieval: how well the gallery is ranked for the faces of a data set, block by block of queries.

Source of MAP@R: Musgrave, Belongie, Lim: *A Metric Learning Reality Check*, arXiv 2003.08505.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mien.index.errors import QueryError
from mien.index.evaluation.held_out import HeldOutFaces
from mien.index.evaluation.intervals import Interval, Scores, percentile_interval, resampled_means
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


@dataclass(frozen=True)
class RankingScores:
    """How often the nearest gallery faces share the query's emotion.

    A gallery face is relevant to a query when both have the same label. Every figure is a mean over the scored
    queries.

    Attributes:
        queries: how many were scored.
        queries_left_out: how many were not, because no gallery face is relevant to them.
        recall_at_1: share of queries with a relevant face as their first match.
        recall_at_2: share of queries with a relevant face among the first 2.
        recall_at_4: share of queries with a relevant face among the first 4.
        recall_at_8: share of queries with a relevant face among the first 8.
        precision_at_10: share of relevant faces among the first 10; places beyond a small gallery's end count as
            not relevant.
        mean_average_precision: mean over the R relevant faces of the precision at their rank, down the whole
            ranking.
        mean_average_precision_at_r: MAP@R, the same down to rank R: relevant faces beyond it count as precision 0.
        mean_average_precision_per_class: class name to the mean over the queries of that class; None where no
            query was scored.
    """

    queries: int
    queries_left_out: int
    recall_at_1: float
    recall_at_2: float
    recall_at_4: float
    recall_at_8: float
    precision_at_10: float
    mean_average_precision: float
    mean_average_precision_at_r: float
    mean_average_precision_per_class: dict[str, float | None]


@dataclass(frozen=True)
class QueryScores:
    """The retrieval metrics of each query; the figures of ``RankingScores`` are means of these.

    Attributes:
        labels: (q,) int64, class indices of the scored queries.
        hits: (q, 4) bool, whether a relevant face is among the first k, for each k of ``RECALL_DEPTHS``.
        precision_at_10: (q,) float64.
        average_precision: (q,) float64.
        average_precision_at_r: (q,) float64.
    """

    labels: NDArray[np.int64]
    hits: NDArray[np.bool_]
    precision_at_10: NDArray[np.float64]
    average_precision: NDArray[np.float64]
    average_precision_at_r: NDArray[np.float64]


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
        >>> tally.result().recall_at_2
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
        self._blocks: list[QueryScores] = []

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

    def result(self) -> RankingScores:
        """The scores of all queries so far.

        Raises:
            DatasetError: no query has a relevant gallery face.
        """
        each = self.per_query()
        queries = len(each.labels)
        if queries == 0:
            raise DatasetError(
                f"retrieval scores need a query with a relevant gallery face, got none among {self._left_out} queries"
            )
        recall = each.hits.mean(axis=0)
        classes = len(self._class_names)
        counts = np.bincount(each.labels, minlength=classes)
        totals = np.bincount(each.labels, weights=each.average_precision, minlength=classes)
        return RankingScores(
            queries=queries,
            queries_left_out=self._left_out,
            recall_at_1=float(recall[0]),
            recall_at_2=float(recall[1]),
            recall_at_4=float(recall[2]),
            recall_at_8=float(recall[3]),
            precision_at_10=float(each.precision_at_10.mean()),
            mean_average_precision=float(each.average_precision.mean()),
            mean_average_precision_at_r=float(each.average_precision_at_r.mean()),
            mean_average_precision_per_class={
                name: float(total / count) if count else None
                for name, total, count in zip(self._class_names, totals, counts, strict=True)
            },
        )

    def per_query(self) -> QueryScores:
        """The scores of each query so far that has a relevant gallery face, in the order of the queries."""
        if not self._blocks:
            none = np.zeros(0)
            return QueryScores(none.astype(np.int64), np.zeros((0, len(RECALL_DEPTHS)), np.bool_), none, none, none)
        return QueryScores(
            labels=np.concatenate([block.labels for block in self._blocks]),
            hits=np.concatenate([block.hits for block in self._blocks]),
            precision_at_10=np.concatenate([block.precision_at_10 for block in self._blocks]),
            average_precision=np.concatenate([block.average_precision for block in self._blocks]),
            average_precision_at_r=np.concatenate([block.average_precision_at_r for block in self._blocks]),
        )

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
        self._blocks.append(
            QueryScores(
                labels=query_labels[scored].astype(np.int64),
                hits=first_rank[:, None] <= np.array(RECALL_DEPTHS),
                precision_at_10=near[scored] / PRECISION_DEPTH,
                average_precision=full[scored] / relevant_count[scored],
                average_precision_at_r=at_r[scored] / relevant_count[scored],
            )
        )


def score_retrieval(
    gallery: FixedGallery,
    gallery_labels: NDArray[np.int64],
    gallery_groups: NDArray[np.int64],
    queries: HeldOutFaces,
    *,
    query_rows: NDArray[np.int64] | None = None,
) -> Scores:
    """Rank the gallery for each query, and score the rankings, with intervals; near copies of a query are left out.

    Args:
        gallery: of m faces.
        gallery_labels: (m,) indices into ``EMOTIONS``.
        gallery_groups: (m,) of near copies.
        queries: q faces, their groups numbered as the gallery's.
        query_rows: (q,) the gallery row of each query, which is left out, too; None when they are not in the gallery.

    Raises:
        DatasetError: no query has a relevant gallery face.
    """
    tally = RankingTally(EMOTIONS, gallery_labels, gallery_groups)
    for start in range(0, len(queries.labels), _QUERIES_AT_ONCE):
        part = slice(start, start + _QUERIES_AT_ONCE)
        ranked, _ = gallery.ranking(queries.embeddings[part], len(gallery))
        rows = query_rows[part] if query_rows is not None else None
        tally.add(ranked, queries.labels[part], queries.groups[part], rows)
    return asdict(tally.result()), _intervals(tally.per_query())


def _intervals(scores: QueryScores) -> dict[str, Interval]:
    columns = {f"recall_at_{depth}": hits for depth, hits in zip(RECALL_DEPTHS, scores.hits.T, strict=True)}
    columns |= {
        "precision_at_10": scores.precision_at_10,
        "mean_average_precision": scores.average_precision,
        "mean_average_precision_at_r": scores.average_precision_at_r,
    }
    resampled = resampled_means(np.stack(list(columns.values()), axis=1).astype(np.float64))
    return {name: percentile_interval(means) for name, means in zip(columns, resampled.T, strict=True)}
