import json

import numpy as np
import pytest
from numpy.typing import NDArray

from mien.index.evaluation.calibration import calibration_scores
from mien.index.evaluation.classification import classification_scores
from mien.index.evaluation.intervals import mean_interval
from mien.index.evaluation.recognition import (
    FREQUENT,
    agreeing,
    believing,
    labels_of,
    naming,
    softmax_head,
    vote_of_neighbours,
)
from mien.index.gallery.gallery import Entry, Gallery
from mien.model.emotions import EMOTIONS

Labels = NDArray[np.int64]


def named(n: int = 400, seed: int = 0) -> tuple[Labels, Labels]:
    """Labels, and predictions of which a quarter are wrong."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 8, n)
    return labels, np.where(rng.random(n) < 0.75, labels, rng.integers(0, 8, n))


def test_scores_are_those_of_classification_with_the_frequent_emotions_besides() -> None:
    labels, predicted = named()
    scores, _ = naming(labels, predicted)
    plain = classification_scores(labels, predicted, EMOTIONS)
    assert scores["macro_f1"] == plain.macro_f1
    assert scores["confusion"] == plain.confusion
    recalls = [(predicted == label)[labels == label].mean() for label in range(8)]
    assert EMOTIONS[5] not in FREQUENT
    assert EMOTIONS[7] not in FREQUENT
    assert scores["macro_recall_frequent"] == pytest.approx(np.mean([recalls[row] for row in (0, 1, 2, 3, 4, 6)]))
    assert json.loads(json.dumps(scores, allow_nan=False)) == scores


def test_intervals_are_those_of_scoring_drawn_faces_anew() -> None:
    labels, predicted = named(150)
    _, intervals = naming(labels, predicted)
    rng = np.random.default_rng(3)
    drawn = []
    for _ in range(1500):
        rows = rng.integers(0, 150, 150)
        drawn.append(classification_scores(labels[rows], predicted[rows], EMOTIONS))
    for name in ("accuracy", "macro_precision", "macro_recall", "macro_f1"):
        values = [getattr(each, name) for each in drawn]
        assert intervals[name] == pytest.approx(tuple(np.quantile(values, (0.025, 0.975))), abs=0.012), name
    assert intervals["accuracy"] == pytest.approx(mean_interval(labels == predicted))
    fear = [each.recall_per_class["fear"] or 0.0 for each in drawn]
    assert intervals["recall_per_class.fear"] == pytest.approx(tuple(np.quantile(fear, (0.025, 0.975))), abs=0.04)


def test_a_class_that_no_label_has_takes_no_part() -> None:
    labels, predicted = np.array([0, 0, 1, 1]), np.array([0, 7, 1, 1])
    scores, intervals = naming(labels, predicted)
    assert scores["recall_per_class"]["fear"] is None
    assert not any("fear" in path or "contempt" in path for path in intervals)
    assert scores["macro_recall_frequent"] == 0.75
    assert intervals["macro_recall"].high == 1.0


def test_faces_of_rare_emotions_alone_have_no_frequent_recall() -> None:
    scores, intervals = naming(np.array([5, 7]), np.array([5, 5]))
    assert scores["macro_recall_frequent"] is None
    assert "macro_recall_frequent" not in intervals


def test_a_class_of_one_face_is_not_drawn_every_time() -> None:
    _, intervals = naming(np.array([0] * 30 + [6]), np.array([0] * 30 + [6]))
    assert intervals["recall_per_class.fear"] == (1.0, 1.0)
    assert intervals["macro_recall"] == (1.0, 1.0)


def forecasts(n: int = 500) -> tuple[NDArray[np.float64], Labels, NDArray[np.float64]]:
    rng = np.random.default_rng(0)
    posterior = rng.dirichlet(np.full(8, 0.3), n)
    votes = np.stack([rng.multinomial(10, row) for row in posterior]) / 10
    return posterior, votes.argmax(axis=1), votes


def test_posteriors_have_the_scores_of_calibration() -> None:
    posterior, labels, votes = forecasts()
    scores, intervals = believing(posterior, labels, votes)
    plain = calibration_scores(posterior, labels, votes)
    assert scores["expected_calibration_error"] == plain.expected_calibration_error
    assert len(scores["bins"]) == len(plain.bins)
    for name in ("brier_score", "kl_divergence"):
        assert intervals[name].low < scores[name] < intervals[name].high
    low, high = intervals["expected_calibration_error"]
    assert 0 <= low < high


def test_expected_votes_are_scored_against_the_votes() -> None:
    posterior, labels, votes = forecasts()
    scores, intervals = agreeing(posterior, votes)
    plain = calibration_scores(posterior, labels, votes)
    assert scores == {"brier_score": plain.brier_score, "kl_divergence": plain.kl_divergence}
    assert set(intervals) == set(scores)


def line(emotions: list[int]) -> Gallery:
    """Faces in a row, at 0, 1, 2, ..."""
    entries = [Entry(str(row), EMOTIONS[label], {}) for row, label in enumerate(emotions)]
    return Gallery(entries, np.arange(len(emotions), dtype=np.float32)[:, None])


def test_neighbours_vote_and_the_nearest_breaks_a_tie() -> None:
    gallery = line([4, 3] * 5 + [1] * 20)
    queries = np.array([[0.1], [100.0]], dtype=np.float32)
    assert vote_of_neighbours(gallery, queries).tolist() == [4, 1]  # of eleven: five of 4, five of 3, one of 1


def test_the_baseline_is_fitted_on_the_gallery() -> None:
    gallery = line([2] * 20 + [6] * 20)
    assert labels_of(gallery).tolist() == [2] * 20 + [6] * 20
    assert softmax_head(gallery)(np.array([[3.0], [36.0]], dtype=np.float32)).tolist() == [2, 6]
