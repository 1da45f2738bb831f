from dataclasses import asdict

import numpy as np
import pytest

import mien.index.evaluation.retrieval
from mien.index.evaluation.held_out import HeldOutFaces
from mien.index.evaluation.intervals import mean_interval
from mien.index.evaluation.ranking import RankingTally
from mien.index.evaluation.retrieval import ranking
from mien.index.gallery.gallery import Entry, Gallery
from mien.model.emotions import EMOTIONS


def scene(n: int, seed: int) -> tuple[Gallery, HeldOutFaces]:
    """Faces of three emotions in a gallery, and as queries."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, n)
    embeddings = (np.eye(3)[labels] + 0.7 * rng.normal(size=(n, 3))).astype(np.float32)
    entries = [Entry(f"{seed}-{row}", EMOTIONS[label], {}) for row, label in enumerate(labels)]
    votes = np.eye(8, dtype=np.float32)[labels]
    return Gallery(entries, embeddings), HeldOutFaces(embeddings, labels, votes, rng.integers(0, 2 * n, n))


@pytest.mark.parametrize("at_once", [1, 7, 1000])
def test_scores_are_those_of_the_whole_ranking(monkeypatch: pytest.MonkeyPatch, at_once: int) -> None:
    monkeypatch.setattr(mien.index.evaluation.retrieval, "_QUERIES_AT_ONCE", at_once)
    (gallery, shown), (_, queries) = scene(60, 0), scene(25, 1)
    scores, intervals = ranking(gallery, shown.labels, shown.groups, queries)
    tally = RankingTally(EMOTIONS, shown.labels, shown.groups)
    tally.add(gallery.ranking(queries.embeddings, 60)[0], queries.labels, queries.groups)
    expected = asdict(tally.result())
    per_class = expected.pop("mean_average_precision_per_class")
    assert scores.pop("mean_average_precision_per_class") == pytest.approx(per_class)
    assert scores == pytest.approx(expected)
    assert intervals["recall_at_2"] == pytest.approx(mean_interval(tally.per_query().recalled[:, 1]))
    assert intervals["mean_average_precision"] == pytest.approx(mean_interval(tally.per_query().average_precision))
    assert set(intervals) == set(scores) - {"queries", "queries_left_out"}


def test_leave_one_out_passes_over_the_query() -> None:
    gallery, faces = scene(30, 2)
    found, _ = ranking(gallery, faces.labels, faces.groups, faces, query_rows=np.arange(30))
    alone = HeldOutFaces(faces.embeddings, faces.labels, faces.votes, np.arange(30))
    itself, _ = ranking(gallery, faces.labels, np.arange(100, 130), alone)
    assert itself["recall_at_1"] == 1.0
    assert found["recall_at_1"] < 1.0
