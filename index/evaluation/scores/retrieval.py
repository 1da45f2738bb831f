"""Retrieval: how well a gallery is ranked for queries.

Source of MAP@R: Musgrave, Belongie, Lim: *A Metric Learning Reality Check*, arXiv 2003.08505.
"""

from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mien.index.evaluation.held_out import HeldOutFaces
from mien.index.evaluation.scores.intervals import Scores, percentile_interval, resampled_means
from mien.index.gallery.fixed_gallery import FixedGallery
from mien.model.emotions import EMOTIONS
from mien.model.errors import DatasetError

RECALL_DEPTHS: Final = (1, 2, 4, 8)
"""The k of recall_at_k."""

PRECISION_DEPTH: Final = 10
"""The k of precision_at_k."""

_CELLS_AT_ONCE: Final = 2**21
"""Ranks that are scored together; some 100 MB of working memory."""

Figures = dict[str, NDArray[np.float64]]
"""Retrieval metrics by name, each with (q,) values, one for each query."""


def score_retrieval(
    gallery: FixedGallery,
    gallery_labels: NDArray[np.int64],
    gallery_groups: NDArray[np.int64],
    queries: HeldOutFaces,
    *,
    query_rows: NDArray[np.int64] | None = None,
    emotions: tuple[str, ...] = EMOTIONS,
) -> Scores:
    """``rank_and_score`` for held-out faces, with intervals."""
    scores, figures = rank_and_score(
        gallery,
        gallery_labels,
        gallery_groups,
        queries.embeddings,
        labels=queries.labels,
        groups=queries.groups,
        query_rows=query_rows,
        emotions=emotions,
    )
    resampled = resampled_means(np.stack(list(figures.values()), axis=1))
    return scores, {name: percentile_interval(means) for name, means in zip(figures, resampled.T, strict=True)}


def rank_and_score(
    gallery: FixedGallery,
    gallery_labels: NDArray[np.int64],
    gallery_groups: NDArray[np.int64],
    queries: NDArray[np.float32],
    *,
    labels: NDArray[np.int64],
    groups: NDArray[np.int64],
    query_rows: NDArray[np.int64] | None = None,
    emotions: Sequence[str] = EMOTIONS,
    on_progress: Callable[[int, int], object] = lambda _, __: None,
) -> tuple[dict[str, Any], Figures]:
    """Rank the gallery for each query, some queries at a time, and score the rankings.

    Args:
        gallery: of m faces.
        gallery_labels: (m,) indices into ``emotions``; negative for a face without a label.
        gallery_groups: (m,) see ``ranking_figures``.
        queries: (q, d) embeddings.
        labels: (q,) indices into ``emotions``.
        groups: (q,) numbered as the gallery's.
        query_rows: (q,) the gallery row of each query, which is left out; None when they are not in the gallery.
        emotions: (c,) names.
        on_progress: called with the queries ranked and their total.

    Returns:
        The mean figures (JSON values) of the queries that have a relevant gallery face: ``queries``, how many these
        are, ``queries_left_out``, the figures of ``ranking_figures``, and ``mean_average_precision_per_class``, class
        name to the mean over its queries, None where there is none. And these queries' figures.

    Raises:
        DatasetError: no query has a relevant gallery face.
    """
    blocks: list[Figures] = []
    is_scored = np.zeros(len(labels), dtype=np.bool_)
    step = max(1, _CELLS_AT_ONCE // len(gallery))
    for start in range(0, len(labels), step):
        part = slice(start, start + step)
        ranked, _ = gallery.ranking(queries[part], len(gallery))
        figures, is_scored[part] = ranking_figures(
            ranked,
            labels[part],
            gallery_labels,
            query_groups=groups[part],
            gallery_groups=gallery_groups,
            query_rows=None if query_rows is None else query_rows[part],
        )
        blocks.append(figures)
        on_progress(min(start + step, len(labels)), len(labels))
    if not is_scored.any():
        raise DatasetError(
            f"retrieval scores need a query with a relevant gallery face, got none among {len(labels)} queries"
        )
    figures = {name: np.concatenate([block[name] for block in blocks]) for name in blocks[0]}
    scored, averages = labels[is_scored], figures["mean_average_precision"]
    return {
        "queries": len(scored),
        "queries_left_out": len(labels) - len(scored),
        **{name: float(values.mean()) for name, values in figures.items()},
        "mean_average_precision_per_class": {
            name: float(averages[scored == label].mean()) if (scored == label).any() else None
            for label, name in enumerate(emotions)
        },
    }, figures


def ranking_figures(
    ranked: NDArray[np.integer],
    labels: NDArray[np.integer],
    gallery_labels: NDArray[np.integer],
    *,
    query_groups: NDArray[np.integer] | None = None,
    gallery_groups: NDArray[np.integer] | None = None,
    query_rows: NDArray[np.integer] | None = None,
) -> tuple[Figures, NDArray[np.bool_]]:
    """The metrics of each query's ranking.

    A gallery face is relevant to a query when both have the same label. The query itself and its near copies, which
    would be found by their pixels and not by their expression, are left out of the ranking. Faces at equal distance
    count in the order of the ranking.

    Args:
        ranked: (q, m) gallery rows in ascending order of distance, each face of the gallery once per query.
        labels: (q,) class indices; negative for a query without a label.
        gallery_labels: (m,) the same.
        query_groups: (q,) groups of near copies, numbered as the gallery's; negative for a face without copies.
        gallery_groups: (m,) the same.
        query_rows: (q,) the gallery row of each query, for leave-one-out within a set.

    Returns:
        The figures of the s queries that have a relevant gallery face: ``recall_at_1``, ``_2``, ``_4`` and ``_8``,
        whether there is a relevant face among the first k; ``precision_at_10``, where places beyond the end of a small
        gallery count as not relevant; ``mean_average_precision``, over the whole ranking;
        ``mean_average_precision_at_r``, MAP@R, in which of R relevant faces those beyond rank R count as precision 0.
        And (q,) which queries these are.
    """
    counts = np.ones(ranked.shape, dtype=np.bool_)
    if query_rows is not None:
        counts &= ranked != query_rows[:, None]
    if query_groups is not None and gallery_groups is not None:
        groups = query_groups[:, None]
        counts &= (gallery_groups[ranked] != groups) | (groups < 0)
    wanted = labels[:, None]
    relevant = counts & (gallery_labels[ranked] == wanted) & (wanted >= 0)  # (q, m)
    relevant_count = relevant.sum(axis=1)  # (q,), R
    scored = relevant_count > 0

    # One entry per pair of query and relevant face, in the order of the ranking.
    query, place = np.nonzero(relevant)
    rank = counts.cumsum(axis=1, dtype=np.int32)[query, place]
    first = np.concatenate(([0], relevant_count.cumsum()[:-1]))[query]
    precision = (np.arange(query.size) - first + 1) / rank

    def sums(values: NDArray[Any]) -> NDArray[np.float64]:
        return np.asarray(np.bincount(query, weights=values, minlength=len(ranked))[scored])

    first_rank = rank[np.arange(query.size) == first]  # one per scored query
    return {f"recall_at_{depth}": (first_rank <= depth).astype(np.float64) for depth in RECALL_DEPTHS} | {
        "precision_at_10": sums(rank <= PRECISION_DEPTH) / PRECISION_DEPTH,
        "mean_average_precision": sums(precision) / relevant_count[scored],
        "mean_average_precision_at_r": sums(precision * (rank <= relevant_count[query])) / relevant_count[scored],
    }, scored
