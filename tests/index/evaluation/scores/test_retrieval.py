import json
from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score

import mien.index.evaluation.scores.retrieval
from mien.index.evaluation.held_out import HeldOutFaces
from mien.index.evaluation.scores.intervals import mean_interval
from mien.index.evaluation.scores.retrieval import rank_and_score, ranking_figures, score_retrieval
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


def scores_of(
    ranked: Integers,
    labels: Integers,
    gallery_labels: Integers,
    groups: tuple[Integers, Integers] | tuple[None, None] = (None, None),
    *,
    query_rows: Integers | None = None,
) -> dict[str, float]:
    """The means of ``ranking_figures``, by class as well."""
    figures, scored = ranking_figures(
        ranked,
        labels,
        gallery_labels,
        query_groups=groups[0],
        gallery_groups=groups[1],
        query_rows=query_rows,
    )
    averages, shown = figures["mean_average_precision"], labels[scored]
    per_class = {NAMES[label]: float(averages[shown == label].mean()) for label in np.unique(shown)}
    means = {name: float(values.mean()) for name, values in figures.items()}
    return means | per_class | {"queries_left_out": int((~scored).sum())}


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
    scores = scores_of(integers(0, 1, 2, 3, 4)[None], integers(0), integers(1, 0, 0, 2, 0))
    assert (scores["recall_at_1"], scores["recall_at_2"], scores["recall_at_4"], scores["recall_at_8"]) == (0, 1, 1, 1)
    assert scores["precision_at_10"] == 3 / 10
    assert scores["mean_average_precision"] == pytest.approx((1 / 2 + 2 / 3 + 3 / 5) / 3)
    assert scores["mean_average_precision_at_r"] == pytest.approx((1 / 2 + 2 / 3) / 3)


@pytest.mark.parametrize("seed", range(5))
def test_scores_agree_with_plain_loops(seed: int) -> None:
    ranked, query_labels, gallery_labels, query_groups, gallery_groups = scene(seed)
    expected = loops(ranked, query_labels, gallery_labels, query_groups.tolist(), gallery_groups.tolist())
    scores = scores_of(ranked, query_labels, gallery_labels, (query_groups, gallery_groups))
    assert scores == pytest.approx(expected)


@pytest.mark.parametrize("seed", range(5))
def test_leave_one_out_agrees_with_plain_loops(seed: int) -> None:
    rng = np.random.default_rng(seed)
    embeddings, labels, groups = rng.normal(size=(60, 3)), rng.integers(0, 3, 60), rng.integers(-1, 25, 60)
    ranked, rows = rank(embeddings, embeddings), np.arange(60)
    expected = loops(ranked, labels, labels, groups.tolist(), groups.tolist(), query_rows=rows.tolist())
    assert scores_of(ranked, labels, labels, (groups, groups), query_rows=rows) == pytest.approx(expected)


def test_average_precision_agrees_with_scikit_learn() -> None:
    ranked, query_labels, gallery_labels, _, _ = scene(7)
    nearness = -np.arange(ranked.shape[1])
    averages = [
        average_precision_score(gallery_labels[row] == label, nearness)
        for row, label in zip(ranked, query_labels, strict=True)
    ]
    scores = scores_of(ranked, query_labels, gallery_labels)
    assert scores["mean_average_precision"] == pytest.approx(np.mean(averages))


def test_perfect_ranking_scores_1() -> None:
    gallery_labels = np.repeat([0, 1, 2], 12)
    ranked = np.stack([np.argsort(gallery_labels != label, kind="stable") for label in range(3)])
    scores = scores_of(ranked, integers(0, 1, 2), gallery_labels)
    assert scores.pop("queries_left_out") == 0
    assert set(scores.values()) == {1.0}


def test_query_is_left_out_but_not_its_double_in_another_row() -> None:
    ranked = integers(0, 1, 2)[None]  # the query is row 1: row 0 lies at the same place
    for gallery_labels, expected in ((integers(0, 0, 1), 1.0), (integers(1, 0, 0), 1 / 2)):
        scores = scores_of(ranked, integers(0), gallery_labels, query_rows=integers(1))
        assert scores["mean_average_precision"] == expected


def test_near_copies_are_left_out() -> None:
    ranked, labels = integers(0, 1, 2, 3)[None], integers(0, 0, 1, 0)
    scores = scores_of(ranked, integers(0), labels, (integers(5), integers(5, 5, 6, 7)))
    assert (scores["recall_at_1"], scores["mean_average_precision"]) == (0, 1 / 2)


def test_negative_group_is_no_group() -> None:
    scores = scores_of(integers(0, 1)[None], integers(0), integers(0, 1), (integers(-3), integers(-3, -4)))
    assert scores["recall_at_1"] == 1


def test_queries_without_a_relevant_face_are_left_out_and_counted() -> None:
    # joy; fear, whose only relevant face is a copy; anger, which the gallery lacks; no label
    labels, groups = integers(0, 1, 2, -1), integers(9, 1, 9, 9)
    scores = scores_of(np.tile([0, 1, 2], (4, 1)), labels, integers(0, 1, -1), (groups, integers(0, 1, 2)))
    assert (scores["queries_left_out"], scores["mean_average_precision"]) == (3, 1.0)


def test_gallery_faces_without_a_label_are_relevant_to_no_query() -> None:
    scores = scores_of(integers(0, 1)[None], integers(0), integers(-1, 0))
    assert scores["mean_average_precision"] == 1 / 2


def embedded_scene(n: int, seed: int) -> tuple[FixedGallery, HeldOutFaces]:
    """Faces of three emotions in a gallery, and as queries."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, n)
    embeddings = (np.eye(3)[labels] + 0.7 * rng.normal(size=(n, 3))).astype(np.float32)
    entries = [Entry(f"{seed}-{row}", EMOTIONS[label], {}) for row, label in enumerate(labels)]
    votes = np.eye(8, dtype=np.float32)[labels]
    return FixedGallery(entries, embeddings), HeldOutFaces(embeddings, labels, votes, rng.integers(0, 2 * n, n))


@pytest.mark.parametrize("cells", [1, 200, 10**6])
def test_scores_are_those_of_the_whole_ranking(monkeypatch: pytest.MonkeyPatch, cells: int) -> None:
    monkeypatch.setattr(mien.index.evaluation.scores.retrieval, "_CELLS_AT_ONCE", cells)
    (gallery, shown), (_, queries) = embedded_scene(60, 0), embedded_scene(25, 1)
    scores, intervals = score_retrieval(gallery, shown.labels, shown.groups, queries)
    figures, scored = ranking_figures(
        gallery.ranking(queries.embeddings, 60)[0],
        queries.labels,
        shown.labels,
        query_groups=queries.groups,
        gallery_groups=shown.groups,
    )
    assert (scores.pop("queries"), scores.pop("queries_left_out")) == (scored.sum(), (~scored).sum())
    averages, labels = figures["mean_average_precision"], queries.labels[scored]
    expected = {name: averages[labels == label].mean() for label, name in enumerate(EMOTIONS[:3])}
    per_class = scores.pop("mean_average_precision_per_class")
    assert per_class == pytest.approx(expected | dict.fromkeys(EMOTIONS[3:]))
    assert json.loads(json.dumps(per_class, allow_nan=False)) == per_class
    assert scores == pytest.approx({name: values.mean() for name, values in figures.items()})
    for name in ("recall_at_2", "mean_average_precision"):
        assert intervals[name] == pytest.approx(mean_interval(figures[name]))
    assert set(intervals) == set(scores)


def test_no_scores_without_a_relevant_face() -> None:
    gallery, faces = embedded_scene(6, 0)
    others = np.full(6, 7)
    with pytest.raises(DatasetError, match="got none among 6 queries"):
        rank_and_score(gallery, faces.labels, faces.groups, faces.embeddings, labels=others, groups=faces.groups)


def test_leave_one_out_leaves_out_the_query() -> None:
    gallery, faces = embedded_scene(30, 2)
    found, _ = score_retrieval(gallery, faces.labels, faces.groups, faces, query_rows=np.arange(30))
    alone = HeldOutFaces(faces.embeddings, faces.labels, faces.votes, np.arange(30))
    itself, _ = score_retrieval(gallery, faces.labels, np.arange(100, 130), alone)
    assert itself["recall_at_1"] == 1.0
    assert found["recall_at_1"] < 1.0
