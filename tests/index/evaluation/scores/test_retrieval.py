import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score

import mien.index.evaluation.scores.retrieval
from mien.index.errors import QueryError
from mien.index.evaluation.held_out import HeldOutFaces
from mien.index.evaluation.scores.intervals import mean_interval
from mien.index.evaluation.scores.retrieval import RankingTally, score_retrieval
from mien.index.gallery.fixed_gallery import Entry, FixedGallery
from mien.model.emotions import EMOTIONS
from mien.model.errors import DatasetError

NAMES = ("joy", "fear", "anger")

Integers = NDArray[np.int64]


def integers(*values: int) -> Integers:
    return np.array(values, dtype=np.int64)


def rank(queries: NDArray[np.float64], gallery: NDArray[np.float64]) -> Integers:
    """Gallery rows in ascending order of distance."""
    distances = np.linalg.norm(queries[:, None] - gallery, axis=2)
    return np.argsort(distances, axis=1, kind="stable")


def loops(
    ranked: Integers,
    query_labels: Integers,
    gallery_labels: Integers,
    query_groups: Sequence[int],
    gallery_groups: Sequence[int],
    *,
    query_rows: Sequence[int] | None = None,
) -> dict[str, float]:
    """The same metrics, one query, one face at a time."""
    sums: dict[str, list[float]] = {}
    left_out = 0
    for q, row in enumerate(ranked):
        hits = []
        for face in row:
            is_self = query_rows is not None and face == query_rows[q]
            is_copy = query_groups[q] >= 0 and gallery_groups[face] == query_groups[q]
            if not is_self and not is_copy:
                hits.append(query_labels[q] >= 0 and gallery_labels[face] == query_labels[q])
        r = sum(hits)
        if r == 0:
            left_out += 1
            continue
        precisions = [sum(hits[: k + 1]) / (k + 1) for k in range(len(hits))]
        for k in (1, 2, 4, 8):
            sums.setdefault(f"recall_at_{k}", []).append(float(any(hits[:k])))
        sums.setdefault("precision_at_10", []).append(sum(hits[:10]) / 10)
        average = sum(p for p, hit in zip(precisions, hits, strict=True) if hit) / r
        sums.setdefault("mean_average_precision", []).append(average)
        at_r = sum(p for p, hit in zip(precisions[:r], hits[:r], strict=True) if hit) / r
        sums.setdefault("mean_average_precision_at_r", []).append(at_r)
        sums.setdefault(NAMES[query_labels[q]], []).append(average)
    return {name: float(np.mean(values)) for name, values in sums.items()} | {"queries_left_out": left_out}


def flat(scores: dict[str, Any]) -> dict[str, float]:
    fields: dict[str, float] = {name: value for name, value in scores.items() if name != "queries"}
    per_class: dict[str, float | None] = scores["mean_average_precision_per_class"]
    fields.pop("mean_average_precision_per_class")
    return fields | {name: value for name, value in per_class.items() if value is not None}


def scene(seed: int = 0, q: int = 40, m: int = 90) -> tuple[Integers, Integers, Integers, Integers, Integers]:
    rng = np.random.default_rng(seed)
    query_labels, gallery_labels = rng.integers(0, 3, q), rng.choice(3, m, p=[0.85, 0.12, 0.03])
    centroids = rng.normal(size=(3, 4))
    ranked = rank(
        centroids[query_labels] + rng.normal(size=(q, 4)), centroids[gallery_labels] + rng.normal(size=(m, 4))
    )
    return ranked, query_labels, gallery_labels, rng.integers(-1, 20, q), rng.integers(-1, 20, m)


def test_scores_by_hand() -> None:
    # Ranks:            1  2  3  4  5; relevant at 2, 3 and 5.
    tally = RankingTally(NAMES, integers(1, 0, 0, 2, 0))
    tally.add(integers(0, 1, 2, 3, 4)[None], integers(0))
    scores = tally.result()
    assert (scores["recall_at_1"], scores["recall_at_2"], scores["recall_at_4"], scores["recall_at_8"]) == (0, 1, 1, 1)
    assert scores["precision_at_10"] == 3 / 10
    assert scores["mean_average_precision"] == pytest.approx((1 / 2 + 2 / 3 + 3 / 5) / 3)
    assert scores["mean_average_precision_at_r"] == pytest.approx((1 / 2 + 2 / 3) / 3)
    assert scores["mean_average_precision_per_class"] == {
        "joy": scores["mean_average_precision"],
        "fear": None,
        "anger": None,
    }


@pytest.mark.parametrize("seed", range(5))
def test_scores_agree_with_plain_loops(seed: int) -> None:
    ranked, query_labels, gallery_labels, query_groups, gallery_groups = scene(seed)
    tally = RankingTally(NAMES, gallery_labels, gallery_groups)
    tally.add(ranked, query_labels, query_groups)
    expected = loops(ranked, query_labels, gallery_labels, query_groups.tolist(), gallery_groups.tolist())
    assert flat(tally.result()) == pytest.approx(expected)


@pytest.mark.parametrize("seed", range(5))
def test_leave_one_out_agrees_with_plain_loops(seed: int) -> None:
    rng = np.random.default_rng(seed)
    embeddings, labels, groups = rng.normal(size=(60, 3)), rng.integers(0, 3, 60), rng.integers(-1, 25, 60)
    ranked, rows = rank(embeddings, embeddings), np.arange(60)
    tally = RankingTally(NAMES, labels, groups)
    tally.add(ranked, labels, groups, rows)
    expected = loops(ranked, labels, labels, groups.tolist(), groups.tolist(), query_rows=rows.tolist())
    assert flat(tally.result()) == pytest.approx(expected)


def test_average_precision_agrees_with_scikit_learn() -> None:
    ranked, query_labels, gallery_labels, _, _ = scene(7)
    tally = RankingTally(NAMES, gallery_labels)
    tally.add(ranked, query_labels)
    nearness = -np.arange(ranked.shape[1])
    averages = [
        average_precision_score(gallery_labels[row] == label, nearness)
        for row, label in zip(ranked, query_labels, strict=True)
    ]
    assert tally.result()["mean_average_precision"] == pytest.approx(np.mean(averages))


def test_perfect_ranking_scores_1() -> None:
    gallery_labels = np.repeat([0, 1, 2], 12)
    ranked = np.stack([np.argsort(gallery_labels != label, kind="stable") for label in range(3)])
    tally = RankingTally(NAMES, gallery_labels)
    tally.add(ranked, integers(0, 1, 2))
    assert set(flat(tally.result()).values()) == {1.0, 0}  # 0: none was left out
    assert tally.result()["queries_left_out"] == 0


def test_query_is_left_out_but_not_its_double_in_another_row() -> None:
    ranked = integers(0, 1, 2)[None]  # the query is row 1: row 0 lies at the same place
    tally = RankingTally(NAMES, integers(0, 0, 1))
    tally.add(ranked, integers(0), query_rows=integers(1))
    assert tally.result()["mean_average_precision"] == 1.0
    tally = RankingTally(NAMES, integers(1, 0, 0))
    tally.add(ranked, integers(0), query_rows=integers(1))
    assert tally.result()["mean_average_precision"] == 1 / 2


def test_near_copies_are_left_out() -> None:
    ranked, labels = integers(0, 1, 2, 3)[None], integers(0, 0, 1, 0)
    tally = RankingTally(NAMES, labels, integers(5, 5, 6, 7))
    tally.add(ranked, integers(0), integers(5))
    assert tally.result()["recall_at_1"] == 0
    assert tally.result()["mean_average_precision"] == 1 / 2


def test_negative_group_is_no_group() -> None:
    ranked, labels = integers(0, 1)[None], integers(0, 1)
    tally = RankingTally(NAMES, labels, integers(-3, -4))
    tally.add(ranked, integers(0), integers(-3))
    assert tally.result()["recall_at_1"] == 1


def test_queries_without_a_relevant_face_are_left_out_and_counted() -> None:
    tally = RankingTally(NAMES, integers(0, 1, -1), integers(0, 1, 2))
    # joy; fear, whose only relevant face is a copy; anger, which the gallery lacks; no label
    tally.add(np.tile([0, 1, 2], (4, 1)), integers(0, 1, 2, -1), integers(9, 1, 9, 9))
    scores = tally.result()
    assert (scores["queries"], scores["queries_left_out"]) == (1, 3)
    assert scores["mean_average_precision"] == 1.0


def test_gallery_faces_without_a_label_are_relevant_to_no_query() -> None:
    tally = RankingTally(NAMES, integers(-1, 0))
    tally.add(integers(0, 1)[None], integers(0))
    assert tally.result()["mean_average_precision"] == 1 / 2


@pytest.mark.parametrize("cells", [1, 200, 10**6])
def test_blocks_do_not_change_the_scores(monkeypatch: pytest.MonkeyPatch, cells: int) -> None:
    ranked, query_labels, gallery_labels, query_groups, gallery_groups = scene(3)
    whole = RankingTally(NAMES, gallery_labels, gallery_groups)
    whole.add(ranked, query_labels, query_groups)
    monkeypatch.setattr(mien.index.evaluation.scores.retrieval, "_CELLS_AT_ONCE", cells)
    streamed = RankingTally(NAMES, gallery_labels, gallery_groups)
    for part in (slice(0, 1), slice(1, 1), slice(1, 17), slice(17, 40)):
        streamed.add(ranked[part].astype(np.int32), query_labels[part], query_groups[part])
    assert flat(streamed.result()) == pytest.approx(flat(whole.result()), abs=1e-12)
    assert streamed.result()["queries"] == whole.result()["queries"]


def test_scores_do_not_depend_on_the_order_of_the_queries_nor_on_the_unit_of_distance() -> None:
    rng = np.random.default_rng(5)
    queries, gallery = rng.normal(size=(30, 3)), rng.normal(size=(50, 3))
    query_labels, gallery_labels = rng.integers(0, 3, 30), rng.integers(0, 3, 50)
    order = rng.permutation(30)
    one, other = RankingTally(NAMES, gallery_labels), RankingTally(NAMES, gallery_labels)
    one.add(rank(queries, gallery), query_labels)
    other.add(rank(4 * queries[order], 4 * gallery), query_labels[order])
    assert flat(one.result()) == pytest.approx(flat(other.result()), abs=1e-12)


def test_scores_become_json() -> None:
    ranked, query_labels, gallery_labels, _, _ = scene()
    tally = RankingTally((*NAMES, "contempt"), gallery_labels)
    tally.add(ranked, query_labels)
    scores = tally.result()
    assert json.loads(json.dumps(scores, allow_nan=False)) == scores


def test_no_scores_without_a_query() -> None:
    with pytest.raises(DatasetError, match="got none among 0 queries"):
        RankingTally(NAMES, integers(0, 1)).result()


@pytest.mark.parametrize(
    ("ranked", "labels", "groups", "message"),
    [
        ([[0, 1]], [0], [0], "must cover all 3 gallery faces"),
        ([[0, 1, -1]], [0], [0], "rows must be from 0 to 2, got -1 to 1"),
        ([[0, 1, 3]], [0], [0], "rows must be from 0 to 2, got 0 to 3"),
        ([[0, 1, 2]], [0, 1], [0], "expected one label for each of 1 queries, got 2"),
        ([[0, 1, 2]], [0], [0, 1], "expected one group for each of 1 queries, got 2"),
        ([[0, 1, 2]], [3], [0], "must be up to 2, got 3"),
        ([[0, 1, 2]], [0], None, "groups of both queries and gallery"),
    ],
)
def test_rankings_that_do_not_fit_are_refused(
    ranked: list[list[int]], labels: list[int], groups: list[int] | None, message: str
) -> None:
    tally = RankingTally(NAMES, integers(0, 1, 2), integers(0, 1, 2))
    with pytest.raises(QueryError, match=message):
        tally.add(np.array(ranked), integers(*labels), None if groups is None else integers(*groups))


def test_gallery_groups_of_another_length_are_refused() -> None:
    with pytest.raises(QueryError, match="expected one group for each of 3 gallery faces, got 2"):
        RankingTally(NAMES, integers(0, 1, 2), integers(0, 1))


def embedded_scene(n: int, seed: int) -> tuple[FixedGallery, HeldOutFaces]:
    """Faces of three emotions in a gallery, and as queries."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, n)
    embeddings = (np.eye(3)[labels] + 0.7 * rng.normal(size=(n, 3))).astype(np.float32)
    entries = [Entry(f"{seed}-{row}", EMOTIONS[label], {}) for row, label in enumerate(labels)]
    votes = np.eye(8, dtype=np.float32)[labels]
    return FixedGallery(entries, embeddings), HeldOutFaces(embeddings, labels, votes, rng.integers(0, 2 * n, n))


@pytest.mark.parametrize("at_once", [1, 7, 1000])
def test_scores_are_those_of_the_whole_ranking(monkeypatch: pytest.MonkeyPatch, at_once: int) -> None:
    monkeypatch.setattr(mien.index.evaluation.scores.retrieval, "_QUERIES_AT_ONCE", at_once)
    (gallery, shown), (_, queries) = embedded_scene(60, 0), embedded_scene(25, 1)
    scores, intervals = score_retrieval(gallery, shown.labels, shown.groups, queries)
    tally = RankingTally(EMOTIONS, shown.labels, shown.groups)
    tally.add(gallery.ranking(queries.embeddings, 60)[0], queries.labels, queries.groups)
    expected = tally.result()
    per_class = expected.pop("mean_average_precision_per_class")
    assert scores.pop("mean_average_precision_per_class") == pytest.approx(per_class)
    assert scores == pytest.approx(expected)
    assert intervals["recall_at_2"] == pytest.approx(mean_interval(tally.per_query()["recall_at_2"]))
    assert intervals["mean_average_precision"] == pytest.approx(
        mean_interval(tally.per_query()["mean_average_precision"])
    )
    assert set(intervals) == set(scores) - {"queries", "queries_left_out"}


def test_leave_one_out_leaves_out_the_query() -> None:
    gallery, faces = embedded_scene(30, 2)
    found, _ = score_retrieval(gallery, faces.labels, faces.groups, faces, query_rows=np.arange(30))
    alone = HeldOutFaces(faces.embeddings, faces.labels, faces.votes, np.arange(30))
    itself, _ = score_retrieval(gallery, faces.labels, np.arange(100, 130), alone)
    assert itself["recall_at_1"] == 1.0
    assert found["recall_at_1"] < 1.0
