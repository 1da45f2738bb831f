import json
import math
from dataclasses import asdict

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import log_loss

from mien.index.evaluation.calibration import (
    PROBABILITY_FLOOR,
    brier_score,
    calibration_scores,
    divergences,
    kl_divergence,
    negative_log_likelihood,
    squared_errors,
)
from mien.index.evaluation.reliability import BIN_COUNT, expected_calibration_error, reliability_bins
from mien.model.errors import DatasetError

Reals = NDArray[np.float64]


def forecasts(seed: int = 0, n: int = 400) -> tuple[Reals, NDArray[np.int64], Reals]:
    """Posteriors, labels, and shares of ten votes, some of them zero."""
    rng = np.random.default_rng(seed)
    posterior = rng.dirichlet(np.full(8, 0.3), n)
    votes = np.stack([rng.multinomial(10, row) for row in posterior])
    return posterior, votes.argmax(axis=1), votes / 10


def one_hot(labels: NDArray[np.int64]) -> Reals:
    return np.eye(8)[labels]


def test_a_case_done_by_hand() -> None:
    posterior = np.array([[0.9, 0.1], [0.9, 0.1], [0.2, 0.8]])
    bins = reliability_bins(posterior, np.array([0, 1, 1]))
    filled = [bin_ for bin_ in bins if bin_.count]
    assert [(bin_.count, bin_.accuracy) for bin_ in filled] == [(1, 1.0), (2, 0.5)]
    assert [bin_.confidence for bin_ in filled] == pytest.approx([0.8, 0.9])
    assert expected_calibration_error(bins) == pytest.approx((1 * 0.2 + 2 * 0.4) / 3)
    targets = np.array([[1, 0], [0.5, 0.5], [0, 1]])
    assert brier_score(posterior, targets) == pytest.approx((0.02 + 0.32 + 0.08) / 3)
    kl = (-math.log(0.9) + 0.5 * math.log(0.5 / 0.9) + 0.5 * math.log(0.5 / 0.1) - math.log(0.8)) / 3
    assert kl_divergence(posterior, targets) == pytest.approx(kl)


@pytest.mark.parametrize("seed", range(3))
def test_scores_agree_with_plain_loops(seed: int) -> None:
    posterior, labels, targets = forecasts(seed)
    brier, kl, likelihood = [], [], []
    members: list[list[int]] = [[] for _ in range(BIN_COUNT)]
    for i, row in enumerate(posterior):
        brier.append(sum((p - t) ** 2 for p, t in zip(row, targets[i], strict=True)))
        kl.append(sum(t * math.log(t / max(p, 1e-12)) for p, t in zip(row, targets[i], strict=True) if t > 0))
        likelihood.append(-math.log(max(row[labels[i]], 1e-12)))
        for b in range(BIN_COUNT):
            if b / BIN_COUNT < max(row) <= (b + 1) / BIN_COUNT:
                members[b].append(i)
    error = sum(
        abs(sum(max(posterior[i]) - (posterior[i].argmax() == labels[i]) for i in faces)) for faces in members
    ) / len(labels)
    scores = calibration_scores(posterior, labels, targets)
    assert [bin_.count for bin_ in scores.bins] == [len(faces) for faces in members]
    assert scores.expected_calibration_error == pytest.approx(error)
    assert scores.brier_score == pytest.approx(np.mean(brier))
    assert scores.kl_divergence == pytest.approx(np.mean(kl))
    assert scores.negative_log_likelihood == pytest.approx(np.mean(likelihood))


def test_scores_are_the_means_over_the_faces() -> None:
    posterior, _, targets = forecasts(5)
    assert squared_errors(posterior, targets).shape == divergences(posterior, targets).shape == (400,)
    one = slice(7, 8)
    assert squared_errors(posterior, targets)[7] == pytest.approx(brier_score(posterior[one], targets[one]))
    assert divergences(posterior, targets)[7] == pytest.approx(kl_divergence(posterior[one], targets[one]))


def test_likelihood_agrees_with_scikit_learn() -> None:
    posterior, labels, _ = forecasts(4)
    expected = log_loss(labels, posterior, labels=np.arange(8))
    assert negative_log_likelihood(posterior, labels) == pytest.approx(expected)


def test_a_forecast_equal_to_its_target_has_no_divergence() -> None:
    _, _, targets = forecasts()
    assert kl_divergence(targets, targets) == pytest.approx(0, abs=1e-12)
    assert brier_score(targets, targets) == 0


def test_a_uniform_posterior_has_the_brier_score_that_the_loss_starts_from() -> None:
    labels = np.arange(8)
    uniform = np.full((8, 8), 1 / 8)
    scores = calibration_scores(uniform, labels, one_hot(labels))
    assert scores.brier_score == pytest.approx(0.875)
    assert scores.negative_log_likelihood == pytest.approx(math.log(8))
    assert scores.kl_divergence == pytest.approx(math.log(8))
    assert scores.expected_calibration_error == pytest.approx(0)


def test_against_one_hot_targets_divergence_is_likelihood() -> None:
    posterior, labels, _ = forecasts(2)
    assert kl_divergence(posterior, one_hot(labels)) == pytest.approx(negative_log_likelihood(posterior, labels))


def test_certainty_that_is_wrong_is_bounded_and_counted() -> None:
    posterior = np.array([[1.0, 0.0], [1.0, 0.0], [1.0, 0.0]])
    targets = np.array([[0.0, 1.0], [0.9, 0.1], [1.0, 0.0]])
    scores = calibration_scores(posterior, np.array([1, 0, 0]), targets)
    assert scores.negative_log_likelihood == pytest.approx(-math.log(PROBABILITY_FLOOR) / 3)
    assert math.isfinite(scores.kl_divergence)
    assert scores.floored_faces == 2
    assert scores.brier_score == pytest.approx((2 + 0.02 + 0) / 3)


def test_float32_gives_the_same_scores() -> None:
    posterior, labels, targets = forecasts(1)
    exact = calibration_scores(posterior, labels, targets)
    rounded = calibration_scores(posterior.astype(np.float32), labels, targets.astype(np.float32))
    assert rounded.brier_score == pytest.approx(exact.brier_score, rel=1e-5)
    assert rounded.kl_divergence == pytest.approx(exact.kl_divergence, rel=1e-5)


def test_scores_become_json() -> None:
    scores = asdict(calibration_scores(*forecasts()))
    assert json.loads(json.dumps(scores, allow_nan=False)) == scores


@pytest.mark.parametrize(
    ("posterior", "labels", "targets", "message"),
    [
        (np.empty((0, 2)), [], np.empty((0, 2)), "at least one face"),
        ([[0.5, 0.6]], [0], [[1, 0]], r"posteriors that are shares of 1, got the row \[0.5, 0.6\] at 0"),
        ([[1, 0], [float("nan"), 0]], [0, 0], [[1, 0]] * 2, "posteriors that are shares of 1, .* at 1"),
        ([[1.5, -0.5]], [0], [[1, 0]], "posteriors that are shares of 1"),
        ([[1, 0]], [0], [[0, 0]], "targets that are shares of 1"),
        ([[1, 0]], [0], [[1, 0, 0]], "one target per posterior"),
        ([[1, 0]], [], [[1, 0]], r"1 labels, got an array of shape \(0,\)"),
        ([[1, 0]], [2], [[1, 0]], "labels from 0 to 1, got 2 to 2"),
        ([[1, 0]], [-1], [[1, 0]], "labels from 0 to 1, got -1 to -1"),
    ],
)
def test_what_is_no_distribution_is_refused(
    posterior: list[list[float]], labels: list[int], targets: list[list[float]], message: str
) -> None:
    with pytest.raises(DatasetError, match=message):
        calibration_scores(
            np.array(posterior, dtype=float), np.array(labels, dtype=int), np.array(targets, dtype=float)
        )
