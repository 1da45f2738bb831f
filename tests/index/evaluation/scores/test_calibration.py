import json
import math
from dataclasses import asdict
from itertools import pairwise

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import log_loss

from mien.index.evaluation.scores.calibration import (
    BIN_COUNT,
    PROBABILITY_FLOOR,
    calibration_scores,
    chance_calibration_error,
    divergences,
    expected_calibration_error,
    reliability_bins,
    score_calibration,
    score_vote_shares,
    signed_gaps,
    squared_errors,
)
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


def test_scores_by_hand() -> None:
    posterior = np.array([[0.9, 0.1], [0.9, 0.1], [0.2, 0.8]])
    bins = reliability_bins(posterior, np.array([0, 1, 1]))
    filled = [bin_ for bin_ in bins if bin_.count]
    assert [(bin_.count, bin_.accuracy) for bin_ in filled] == [(1, 1.0), (2, 0.5)]
    assert [bin_.confidence for bin_ in filled] == pytest.approx([0.8, 0.9])
    assert expected_calibration_error(bins) == pytest.approx((1 * 0.2 + 2 * 0.4) / 3)
    targets = np.array([[1, 0], [0.5, 0.5], [0, 1]])
    assert squared_errors(posterior, targets).mean() == pytest.approx((0.02 + 0.32 + 0.08) / 3)
    kl = (-math.log(0.9) + 0.5 * math.log(0.5 / 0.9) + 0.5 * math.log(0.5 / 0.1) - math.log(0.8)) / 3
    assert divergences(posterior, targets).mean() == pytest.approx(kl)


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
    assert squared_errors(posterior, targets)[7] == pytest.approx(squared_errors(posterior[one], targets[one]).mean())
    assert divergences(posterior, targets)[7] == pytest.approx(divergences(posterior[one], targets[one]).mean())


def test_likelihood_agrees_with_scikit_learn() -> None:
    posterior, labels, _ = forecasts(4)
    expected = log_loss(labels, posterior, labels=np.arange(8))
    assert calibration_scores(posterior, labels, one_hot(labels)).negative_log_likelihood == pytest.approx(expected)


def test_forecast_equal_to_its_target_has_no_divergence() -> None:
    _, _, targets = forecasts()
    assert divergences(targets, targets).mean() == pytest.approx(0, abs=1e-12)
    assert squared_errors(targets, targets).mean() == 0


def test_scores_of_a_uniform_posterior() -> None:
    labels = np.arange(8)
    uniform = np.full((8, 8), 1 / 8)
    scores = calibration_scores(uniform, labels, one_hot(labels))
    assert scores.brier_score == pytest.approx(0.875)
    assert scores.negative_log_likelihood == pytest.approx(math.log(8))
    assert scores.kl_divergence == pytest.approx(math.log(8))
    assert scores.expected_calibration_error == pytest.approx(0)


def test_divergence_from_one_hot_targets_is_the_likelihood() -> None:
    posterior, labels, _ = forecasts(2)
    scores = calibration_scores(posterior, labels, one_hot(labels))
    assert scores.kl_divergence == pytest.approx(scores.negative_log_likelihood)


def test_posterior_of_0_at_the_label_is_floored_and_counted() -> None:
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
        ([[0.5, 0.6]], [0], [[1, 0]], r"posteriors must be shares of 1, got the row \[0.5, 0.6\] at 0"),
        ([[1, 0], [float("nan"), 0]], [0, 0], [[1, 0]] * 2, "posteriors must be shares of 1, .* at 1"),
        ([[1.5, -0.5]], [0], [[1, 0]], "posteriors must be shares of 1"),
        ([[1, 0]], [0], [[0, 0]], "targets must be shares of 1"),
        ([[1, 0]], [0], [[1, 0, 0]], "one target per posterior"),
        ([[1, 0]], [], [[1, 0]], r"expected 1 labels, got an array of shape \(0,\)"),
        ([[1, 0]], [2], [[1, 0]], "labels must be from 0 to 1, got 2 to 2"),
        ([[1, 0]], [-1], [[1, 0]], "labels must be from 0 to 1, got -1 to -1"),
    ],
)
def test_arrays_that_are_no_distributions_are_refused(
    posterior: list[list[float]], labels: list[int], targets: list[list[float]], message: str
) -> None:
    with pytest.raises(DatasetError, match=message):
        calibration_scores(
            np.array(posterior, dtype=float), np.array(labels, dtype=int), np.array(targets, dtype=float)
        )


def test_scores_with_intervals_are_the_calibration_scores() -> None:
    posterior, labels, votes = forecasts(n=500)
    scores, intervals = score_calibration(posterior, labels, votes)
    plain = calibration_scores(posterior, labels, votes)
    assert scores["expected_calibration_error"] == plain.expected_calibration_error
    assert len(scores["bins"]) == len(plain.bins)
    for name in ("brier_score", "kl_divergence"):
        assert intervals[name].low < scores[name] < intervals[name].high
    low, high = intervals["expected_calibration_error"]
    assert 0 <= low < high


def test_vote_shares_are_scored_against_the_votes() -> None:
    posterior, labels, votes = forecasts(n=500)
    scores, intervals = score_vote_shares(posterior, votes)
    plain = calibration_scores(posterior, labels, votes)
    assert scores == {"brier_score": plain.brier_score, "kl_divergence": plain.kl_divergence}
    assert set(intervals) == set(scores)


def labelled_forecasts(n: int, seed: int = 0) -> tuple[Reals, NDArray[np.int64]]:
    """Posteriors, and labels drawn with these probabilities."""
    rng = np.random.default_rng(seed)
    posterior = rng.dirichlet(np.full(8, 0.3), n)
    return posterior, (posterior.cumsum(axis=1) > rng.random((n, 1))).argmax(axis=1)


@pytest.mark.parametrize("numerator", range(8, 16))
def test_edge_belongs_to_the_bin_below_it(numerator: int) -> None:
    edge = np.linspace(0, 1, 16)[numerator]
    bins = reliability_bins(np.array([[edge, 1 - edge]]), np.array([0]))
    assert [bin_.count for bin_ in bins].index(1) == numerator - 1


def test_bins_cover_zero_to_one_and_hold_every_face() -> None:
    posterior, labels = labelled_forecasts(400, seed=3)
    bins = reliability_bins(posterior, labels)
    assert len(bins) == BIN_COUNT
    assert (bins[0].lower, bins[-1].upper) == (0, 1)
    assert all(one.upper == other.lower for one, other in pairwise(bins))
    assert sum(bin_.count for bin_ in bins) == len(labels)
    assert (bins[0].count, bins[0].confidence, bins[0].accuracy) == (0, None, None)


def test_posterior_slightly_above_1_is_in_the_last_bin() -> None:
    bins = reliability_bins(np.array([[1 + 1e-7, 0.0]]), np.array([0]))
    assert bins[-1].count == 1


def test_true_posteriors_are_calibrated_and_sharpened_ones_are_not() -> None:
    # A bin of 6,700 faces misses its confidence by some 0.005 by chance.
    posterior, labels = labelled_forecasts(100_000)
    honest = expected_calibration_error(reliability_bins(posterior, labels))
    sharpened = posterior**2 / (posterior**2).sum(axis=1, keepdims=True)
    assert honest < 0.01
    assert expected_calibration_error(reliability_bins(sharpened, labels)) > 0.1


def test_gaps_of_the_faces_add_up_to_the_calibration_error() -> None:
    posterior, labels = labelled_forecasts(300, seed=1)
    gaps = signed_gaps(posterior, labels)
    assert gaps.shape == (300, BIN_COUNT)
    error = expected_calibration_error(reliability_bins(posterior, labels))
    assert np.abs(gaps.mean(axis=0)).sum() == pytest.approx(error)
    assert ((gaps != 0).sum(axis=1) <= 1).all()


def test_gaps_by_hand() -> None:
    gaps = signed_gaps(np.array([[0.9, 0.1], [0.9, 0.1], [0.2, 0.8]]), np.array([0, 1, 1]), bin_count=2)
    np.testing.assert_allclose(gaps, [[0, -0.1], [0, 0.9], [0, -0.2]])


def test_chance_error_is_that_of_a_binomial() -> None:
    """Four faces with a confidence of one half: none, one, ... four right, in 1, 4, 6, 4, 1 of 16 cases."""
    posterior = np.full((4, 2), 0.5)
    expected = (2 * 1 * 0.5 + 2 * 4 * 0.25 + 6 * 0) / 16
    assert chance_calibration_error(posterior, draws=20_000) == pytest.approx(expected, abs=0.005)
    assert chance_calibration_error(np.array([[1.0, 0.0]])) == 0


def test_error_of_true_posteriors_is_the_chance_error() -> None:
    errors = [expected_calibration_error(reliability_bins(*labelled_forecasts(500, seed))) for seed in range(40)]
    assert np.mean(errors) == pytest.approx(chance_calibration_error(labelled_forecasts(500)[0]), rel=0.15)


def test_chance_error_is_reproducible_and_falls_with_the_number_of_faces() -> None:
    few, many = labelled_forecasts(200)[0], labelled_forecasts(20_000)[0]
    assert chance_calibration_error(few) == chance_calibration_error(few)
    assert chance_calibration_error(many) < 0.2 * chance_calibration_error(few)


def test_gaps_of_what_is_no_distribution_are_refused() -> None:
    with pytest.raises(DatasetError, match="shares of 1"):
        chance_calibration_error(np.array([[0.5, 0.6]]))
    with pytest.raises(DatasetError, match="expected 2 labels"):
        signed_gaps(np.full((2, 2), 0.5), np.array([0]))
