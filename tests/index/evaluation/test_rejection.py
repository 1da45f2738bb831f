import json
from dataclasses import asdict

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from mien.index.evaluation.rejection import (
    TypicalityOfKind,
    auroc,
    rejecting,
    rejection_scores,
    threshold_keeping,
    win_shares,
)
from mien.model.errors import DatasetError


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


def test_auroc_keeps_under_monotone_maps_and_turns_around() -> None:
    faces, others = typicality(1)
    assert auroc(np.exp(faces), np.exp(others)) == auroc(faces, others)
    assert auroc(others, faces) == pytest.approx(1 - auroc(faces, others))


@pytest.mark.parametrize("share", [0.001, 0.07, 0.29, 0.5, 0.9, 0.95, 0.999, 1.0])
@pytest.mark.parametrize("seed", range(3))
def test_the_threshold_is_the_highest_that_keeps_the_share(seed: int, share: float) -> None:
    faces, _ = typicality(seed)
    keeping = [value for value in faces if np.mean(faces >= value) >= share]
    assert threshold_keeping(faces, share) == max(keeping)


def test_rounding_of_the_share_costs_no_face() -> None:
    assert 0.07 * 100 > 7  # in floating point
    assert threshold_keeping(np.arange(100.0), 0.07) == 93


def test_scores_by_hand() -> None:
    scores = rejection_scores(np.array([1.0, 2, 3, 4]), np.array([0.0, 1, 2]), threshold=2.0)
    assert (scores.faces, scores.non_faces) == (4, 3)
    assert scores.threshold == 2
    assert scores.faces_kept == 3 / 4
    assert scores.non_faces_rejected == pytest.approx(2 / 3)
    assert scores.auroc == pytest.approx((1.5 + 2.5 + 3 + 3) / 12)
    assert json.loads(json.dumps(asdict(scores), allow_nan=False)) == asdict(scores)


def test_shares_of_wins_average_to_the_auroc_on_both_sides() -> None:
    faces, others = typicality(2)
    of_faces, of_others = win_shares(faces, others)
    assert (of_faces.shape, of_others.shape) == ((80,), (50,))
    assert of_faces.mean() == pytest.approx(auroc(faces, others))
    assert of_others.mean() == pytest.approx(auroc(faces, others))
    wins = sum(1.0 if faces[3] > other else 0.5 if faces[3] == other else 0.0 for other in others)
    assert of_faces[3] == pytest.approx(wins / 50)


def kinds(seed: int) -> tuple[np.ndarray, list[TypicalityOfKind]]:
    rng = np.random.default_rng(seed)
    made = [
        TypicalityOfKind("noise", rng.beta(1, 9, 60), rehearsed=True),
        TypicalityOfKind("tiny", rng.beta(1, 3, 90), rehearsed=True),
        TypicalityOfKind("objects", rng.beta(2, 3, 40), rehearsed=False),
    ]
    return rng.random(100), made


def test_every_kind_counts_the_same() -> None:
    faces, made = kinds(0)
    scores, _ = rejecting(faces, made, 0.1)
    each = [auroc(faces, kind.typicality) for kind in made]
    assert scores["auroc"] == pytest.approx(np.mean(each))
    assert scores["auroc_unrehearsed"] == pytest.approx(each[2])
    # The pooled area, each picture weighing as much as makes the kinds equal.
    others = [kind.typicality for kind in made]
    weights = np.concatenate([np.ones(100), *(np.full(len(kind), 1 / len(kind)) for kind in others)])
    pooled = np.concatenate([faces, *others])
    assert scores["auroc"] == pytest.approx(roc_auc_score(np.repeat([1, 0], [100, 190]), pooled, sample_weight=weights))
    assert scores["faces_kept"] == (faces >= 0.1).mean()
    assert scores["threshold"] == 0.1
    assert scores["non_faces_rejected"] == pytest.approx(np.mean([(kind.typicality < 0.1).mean() for kind in made]))
    assert scores["kinds"]["objects"]["rehearsed"] is False
    assert scores["kinds"]["noise"]["non_faces_rejected"] == (made[0].typicality < 0.1).mean()
    assert json.loads(json.dumps(scores, allow_nan=False)) == scores


def test_intervals_hold_the_scores_and_are_as_wide_as_resampling_makes_them() -> None:
    faces, made = kinds(1)
    scores, intervals = rejecting(faces, made, 0.1)
    for path in ("auroc", "auroc_unrehearsed", "faces_kept", "non_faces_rejected"):
        assert intervals[path].low < scores[path] < intervals[path].high
    rng = np.random.default_rng(0)
    others = made[2].typicality
    drawn = [auroc(rng.choice(faces, 100), rng.choice(others, 40)) for _ in range(2000)]
    interval = intervals["kinds.objects.auroc"]
    assert interval == pytest.approx(tuple(np.quantile(drawn, (0.025, 0.975))), abs=0.02)
    assert interval == intervals["auroc_unrehearsed"]
    assert intervals["auroc"].high - intervals["auroc"].low < interval.high - interval.low


def test_without_unrehearsed_kinds_there_is_no_figure_for_them() -> None:
    faces, made = kinds(2)
    scores, intervals = rejecting(faces, made[:2], 0.1)
    assert scores["auroc_unrehearsed"] is None
    assert "auroc_unrehearsed" not in intervals
    with pytest.raises(DatasetError, match="at least one kind"):
        rejecting(faces, [], 0.1)


@pytest.mark.parametrize(
    ("faces", "others", "message"),
    [
        ([], [1.0], "at least one of the faces"),
        ([1.0], [], "at least one of the non-faces"),
        ([1.0, np.nan], [1.0], "with 1 NaN"),
    ],
)
def test_what_cannot_be_scored_is_refused(faces: list[float], others: list[float], message: str) -> None:
    with pytest.raises(DatasetError, match=message):
        rejection_scores(np.array(faces), np.array(others), 0.5)


@pytest.mark.parametrize("share", [0.0, 1.1])
def test_a_share_to_keep_is_above_zero_and_up_to_one(share: float) -> None:
    with pytest.raises(DatasetError, match=f"above 0 and up to 1, got {share}"):
        threshold_keeping(np.array([1.0]), share)
