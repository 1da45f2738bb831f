"""Retrieval: how well the gallery is ranked for the faces of a data set, with intervals."""

from dataclasses import asdict
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mien.index.evaluation.held_out import HeldOutFaces
from mien.index.evaluation.intervals import Interval, Scored, percentile_interval, resampled_means
from mien.index.evaluation.ranking import RECALL_DEPTHS, QueryScores, RankingTally
from mien.index.gallery.gallery import Gallery
from mien.model.emotions import EMOTIONS

_QUERIES_AT_ONCE: Final = 128


def ranking(
    gallery: Gallery,
    gallery_labels: NDArray[np.int64],
    gallery_groups: NDArray[np.int64],
    queries: HeldOutFaces,
    *,
    query_rows: NDArray[np.int64] | None = None,
) -> Scored:
    """Rank the gallery for each query; near copies of a query are passed over.

    Args:
        gallery: of m faces.
        gallery_labels: (m,) indices into ``EMOTIONS``.
        gallery_groups: (m,) of near copies.
        queries: q faces, their groups numbered as the gallery's.
        query_rows: (q,) the gallery row that each query is, which is passed over, too; None when they are none.

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


def _intervals(each: QueryScores) -> dict[str, Interval]:
    columns = {f"recall_at_{depth}": recalled for depth, recalled in zip(RECALL_DEPTHS, each.recalled.T, strict=True)}
    columns |= {
        "precision_at_10": each.precision_at_10,
        "mean_average_precision": each.average_precision,
        "mean_average_precision_at_r": each.average_precision_at_r,
    }
    resampled = resampled_means(np.stack(list(columns.values()), axis=1).astype(np.float64))
    return {name: percentile_interval(means) for name, means in zip(columns, resampled.T, strict=True)}
