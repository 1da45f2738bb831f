import json

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from mien.index.evaluation.scores.rejection import (
    auroc,
    score_rejection,
    win_shares,
)
from mien.model.errors import DatasetError

SEEN = ("noise", "tiny")


def typicality(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Rounded, so that there are many ties."""
    rng = np.random.default_rng(seed)
    return rng.normal(0.7, 1, 80).round(1), rng.normal(0, 1, 50).round(1)


@pytest.mark.parametrize("seed", range(3))
def test_auroc_counts_pairs_with_ties_as_half(seed: int) -> None:
    faces, others = typicality(seed)
    wins = sum(1.0 if face > other else 0.5 if face == other else 0.0 for face in faces for other in others)
    assert auroc(faces, others) == pytest.approx(wins / (80 * 50))
    assert auroc(faces, others) == pytest.approx(
        roc_auc_score(np.repeat([1, 0], [80, 50]), np.concatenate([faces, others]))
    )


@pytest.mark.parametrize(
    ("faces", "others", "expected"),
    [
        ([2.0, 3.0], [0.0, 1.0], 1.0),
        ([0.0, 1.0], [2.0, 3.0], 0.0),
        ([1.0, 1.0], [1.0, 1.0, 1.0], 0.5),
        ([1.0, 3.0], [2.0], 0.5),
        ([1.0, np.inf], [-np.inf, 1.0], 0.875),
    ],
)
def test_auroc_by_hand(faces: list[float], others: list[float], expected: float) -> None:
    assert auroc(np.array(faces), np.array(others)) == expected


def test_auroc_is_invariant_under_monotone_maps_and_complementary() -> None:
    faces, others = typicality(1)
    assert auroc(np.exp(faces), np.exp(others)) == auroc(faces, others)
    assert auroc(others, faces) == pytest.approx(1 - auroc(faces, others))


def test_scores_by_hand() -> None:
    outliers = {"noise": np.array([0.0, 1, 2])}
    scores = score_rejection(np.array([1.0, 2, 3, 4]), outliers, SEEN, threshold=2.0)[0]["kinds"]["noise"]
    assert (scores["faces"], scores["outliers"]) == (4, 3)
    assert scores["threshold"] == 2
    assert scores["faces_kept"] == 3 / 4
    assert scores["outliers_rejected"] == pytest.approx(2 / 3)
    assert scores["auroc"] == pytest.approx((1.5 + 2.5 + 3 + 3) / 12)


def test_win_shares_average_to_the_auroc_on_both_sides() -> None:
    faces, others = typicality(2)
    of_faces, of_others = win_shares(faces, others)
    assert (of_faces.shape, of_others.shape) == ((80,), (50,))
    assert of_faces.mean() == pytest.approx(auroc(faces, others))
    assert of_others.mean() == pytest.approx(auroc(faces, others))
    wins = sum(1.0 if faces[3] > other else 0.5 if faces[3] == other else 0.0 for other in others)
    assert of_faces[3] == pytest.approx(wins / 50)


def kinds(seed: int) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    rng = np.random.default_rng(seed)
    made = {"noise": rng.beta(1, 9, 60), "tiny": rng.beta(1, 3, 90), "objects": rng.beta(2, 3, 40)}
    return rng.random(100), made


def test_kinds_count_the_same() -> None:
    faces, made = kinds(0)
    scores, _ = score_rejection(faces, made, SEEN, 0.1)
    each = [auroc(faces, others) for others in made.values()]
    assert scores["auroc"] == pytest.approx(np.mean(each))
    assert scores["auroc_unseen"] == pytest.approx(each[2])
    # The AUROC of the pool, weighted so that the kinds count the same.
    others = list(made.values())
    weights = np.concatenate([np.ones(100), *(np.full(len(kind), 1 / len(kind)) for kind in others)])
    pooled = np.concatenate([faces, *others])
    assert scores["auroc"] == pytest.approx(roc_auc_score(np.repeat([1, 0], [100, 190]), pooled, sample_weight=weights))
    assert scores["faces_kept"] == (faces >= 0.1).mean()
    assert scores["threshold"] == 0.1
    assert scores["outliers_rejected"] == pytest.approx(np.mean([(each < 0.1).mean() for each in others]))
    assert scores["kinds"]["objects"]["seen"] is False
    assert scores["kinds"]["noise"]["outliers_rejected"] == (made["noise"] < 0.1).mean()
    assert json.loads(json.dumps(scores, allow_nan=False)) == scores


def test_intervals_contain_the_scores_and_are_as_wide_as_by_resampling() -> None:
    faces, made = kinds(1)
    scores, intervals = score_rejection(faces, made, SEEN, 0.1)
    for path in ("auroc", "auroc_unseen", "faces_kept", "outliers_rejected"):
        assert intervals[path].low < scores[path] < intervals[path].high
    rng = np.random.default_rng(0)
    others = made["objects"]
    drawn = [auroc(rng.choice(faces, 100), rng.choice(others, 40)) for _ in range(2000)]
    interval = intervals["kinds.objects.auroc"]
    assert interval == pytest.approx(tuple(np.quantile(drawn, (0.025, 0.975))), abs=0.02)
    assert interval == intervals["auroc_unseen"]
    assert intervals["auroc"].high - intervals["auroc"].low < interval.high - interval.low


def test_without_unseen_kinds_there_is_no_figure_for_them() -> None:
    faces, made = kinds(2)
    scores, intervals = score_rejection(faces, {kind: made[kind] for kind in SEEN}, SEEN, 0.1)
    assert scores["auroc_unseen"] is None
    assert "auroc_unseen" not in intervals
    with pytest.raises(DatasetError, match="at least one kind"):
        score_rejection(faces, {}, SEEN, 0.1)


@pytest.mark.parametrize(
    ("faces", "others", "message"),
    [
        ([], [1.0], "at least one of the faces"),
        ([1.0], [], "at least one of the outliers"),
        ([1.0, np.nan], [1.0], "with 1 NaN"),
    ],
)
def test_empty_arrays_and_nan_are_refused(faces: list[float], others: list[float], message: str) -> None:
    with pytest.raises(DatasetError, match=message):
        score_rejection(np.array(faces), {"noise": np.array(others)}, SEEN, 0.5)
