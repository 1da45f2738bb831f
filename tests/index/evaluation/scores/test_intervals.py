import numpy as np
import pytest

import mien.index.evaluation.scores.intervals
from mien.index.evaluation.scores.intervals import (
    Interval,
    basic_interval,
    join_scores,
    mean_interval,
    percentile_interval,
    resampled_means,
)
from mien.model.errors import DatasetError


def test_means_of_resampled_faces_have_the_expected_spread() -> None:
    """A mean of n draws with replacement has the standard deviation of one draw over the root of n."""
    values = np.random.default_rng(0).normal(3, 2, 400)
    means = resampled_means(values, resamples=20_000)
    assert means.shape == (20_000,)
    assert means.mean() == pytest.approx(values.mean(), abs=0.005)
    assert means.std() == pytest.approx(values.std() / 20, rel=0.02)


def test_interval_of_a_share_is_that_of_the_normal_approximation() -> None:
    right = np.arange(1000) < 860
    interval = mean_interval(right)
    spread = 1.96 * np.sqrt(0.86 * 0.14 / 1000)
    assert interval.low == pytest.approx(0.86 - spread, abs=0.002)
    assert interval.high == pytest.approx(0.86 + spread, abs=0.002)


def test_intervals_cover_the_true_mean_at_their_level() -> None:
    rng = np.random.default_rng(1)
    held = [low <= 0.3 <= high for low, high in (mean_interval(rng.random(100) < 0.3) for _ in range(200))]
    assert 0.9 <= np.mean(held) <= 0.99


def test_same_seed_draws_the_same_faces_for_every_score() -> None:
    values = np.random.default_rng(0).normal(size=(50, 3))
    together = resampled_means(values)
    for column in range(3):
        np.testing.assert_allclose(together[:, column], resampled_means(values[:, column]))
    assert not np.allclose(resampled_means(values[:, 0]), resampled_means(values[:, 0], seed=1))


def test_blocks_do_not_change_the_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(0).normal(size=70)
    whole = resampled_means(values, resamples=100)
    monkeypatch.setattr(mien.index.evaluation.scores.intervals, "_COUNTS_AT_ONCE", 70 * 7)
    np.testing.assert_allclose(resampled_means(values, resamples=100), whole)


def test_interval_of_equal_scores_is_a_point() -> None:
    assert mean_interval(np.full(9, 0.25)) == pytest.approx((0.25, 0.25))


def test_percentile_interval_leaves_out_nan() -> None:
    values = np.append(np.arange(101.0), [np.nan] * 50)
    assert percentile_interval(values) == pytest.approx((2.5, 97.5))


def test_basic_interval_is_mirrored_and_cut_at_the_lowest_value() -> None:
    resampled = np.linspace(0.02, 0.06, 10_001)
    low, high = basic_interval(0.03, resampled, lowest=0.0)
    assert (low, high) == pytest.approx((0.06 - 0.059, 0.06 - 0.021))
    assert basic_interval(0.02, resampled, lowest=0.0).low == 0


def test_basic_interval_of_absolute_means_contains_the_true_value() -> None:
    """Fifteen means with the true value 0: their absolute values sum to more, and to even more when resampled."""
    gaps = np.random.default_rng(2).normal(size=(400, 15))
    score = float(np.abs(gaps.mean(axis=0)).sum())
    resampled = np.abs(resampled_means(gaps)).sum(axis=1)
    assert percentile_interval(resampled).low > 0.9 * score
    interval = basic_interval(score, resampled, lowest=0.0)
    assert interval.low < 0.6 * score
    assert interval.high < 1.2 * score


def test_joined_scores_have_the_paths_of_their_intervals() -> None:
    scores, intervals = join_scores(
        {"a": ({"x": 1.0}, {"x": Interval(0, 2)}), "b": ({"c": {"y": 3}}, {"c.y": Interval(2, 4)})}
    )
    assert scores == {"a": {"x": 1.0}, "b": {"c": {"y": 3}}}
    assert intervals == {"a.x": (0, 2), "b.c.y": (2, 4)}


def test_interval_of_no_faces_is_refused() -> None:
    with pytest.raises(DatasetError, match=r"at least one face, got an array of shape \(0,\)"):
        mean_interval(np.zeros(0))
