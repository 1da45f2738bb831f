import json
from dataclasses import asdict

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from index.rejection import auroc, rejection_scores, threshold_keeping
from model.errors import DatasetError


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
    scores = rejection_scores(np.array([1.0, 2, 3, 4]), np.array([0.0, 1, 2]), keep_share=0.75)
    assert (scores.faces, scores.non_faces) == (4, 3)
    assert scores.threshold == 2
    assert scores.faces_kept == 3 / 4
    assert scores.non_faces_rejected == pytest.approx(2 / 3)
    assert scores.auroc == pytest.approx((1.5 + 2.5 + 3 + 3) / 12)
    assert json.loads(json.dumps(asdict(scores), allow_nan=False)) == asdict(scores)


@pytest.mark.parametrize(
    ("faces", "others", "share", "message"),
    [
        ([], [1.0], 0.9, "at least one of the faces"),
        ([1.0], [], 0.9, "at least one of the non-faces"),
        ([1.0, np.nan], [1.0], 0.9, "with 1 NaN"),
        ([1.0], [1.0], 0.0, "above 0 and up to 1, got 0.0"),
        ([1.0], [1.0], 1.1, "above 0 and up to 1, got 1.1"),
    ],
)
def test_what_cannot_be_scored_is_refused(faces: list[float], others: list[float], share: float, message: str) -> None:
    with pytest.raises(DatasetError, match=message):
        rejection_scores(np.array(faces), np.array(others), keep_share=share)
