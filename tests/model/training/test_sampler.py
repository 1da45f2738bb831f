import numpy as np
import pytest

from mien.model.errors import ConfigError
from mien.model.training.sampler import balanced_batches, class_shares

COUNTS = (900, 500, 250, 250, 180, 20, 60, 10)
LABELS = np.random.default_rng(0).permutation(np.repeat(np.arange(8), COUNTS))


@pytest.mark.parametrize("batch_size", [16, 17, 100, 128, 240])
@pytest.mark.parametrize("balance", [0.0, 0.3, 0.5, 1.0])
def test_shares_fill_the_batch_with_two_at_least_of_each_class(balance: float, batch_size: int) -> None:
    shares = class_shares(LABELS, 8, balance, batch_size)
    assert shares.sum() == batch_size
    assert shares.min() >= 2
    # A class that is more frequent never gets less.
    in_order = shares[np.argsort(COUNTS, kind="stable")]
    assert (np.diff(in_order) >= 0).all()


@pytest.mark.parametrize("batch_size", [128, 131])
def test_full_balance_gives_equal_shares(batch_size: int) -> None:
    shares = class_shares(LABELS, 8, 1.0, batch_size)
    assert shares.max() - shares.min() == (0 if batch_size % 8 == 0 else 1)


def test_no_balance_follows_the_data_beyond_the_first_two() -> None:
    shares = class_shares(LABELS, 8, 0.0, 1016)
    ideal = np.array(COUNTS) / sum(COUNTS) * 1000
    assert np.abs(shares - 2 - ideal).max() < 1


def test_absent_classes_get_no_share() -> None:
    labels = np.array([1] * 30 + [4] * 10)
    shares = class_shares(labels, 8, 0.5, 21)
    assert shares.sum() == 21
    assert np.flatnonzero(shares).tolist() == [1, 4]
    assert set(labels[balanced_batches(labels, 8, 21, 0.5, seed=0, epoch=0)].ravel()) == {1, 4}


def test_batch_too_small_for_two_of_each_class_is_refused() -> None:
    with pytest.raises(ConfigError, match="two samples of each of 8 classes, got a batch size of 15"):
        class_shares(LABELS, 8, 0.5, 15)


def test_no_samples_are_refused() -> None:
    with pytest.raises(ConfigError, match="got none"):
        balanced_batches(np.zeros(0, dtype=np.int64), 8, 64, 0.5, seed=0, epoch=0)


def test_every_batch_has_the_shares() -> None:
    batches = balanced_batches(LABELS, 8, 128, 0.4, seed=1, epoch=3)
    assert batches.shape == (len(LABELS) // 128, 128)
    shares = class_shares(LABELS, 8, 0.4, 128)
    for batch in batches:
        assert np.bincount(LABELS[batch], minlength=8).tolist() == shares.tolist()


@pytest.mark.parametrize("balance", [0.0, 0.5, 1.0])
def test_samples_of_a_class_are_used_evenly(balance: float) -> None:
    uses = np.bincount(balanced_batches(LABELS, 8, 64, balance, seed=0, epoch=0).ravel(), minlength=len(LABELS))
    for label in range(8):
        of_class = uses[label == LABELS]
        assert of_class.max() - of_class.min() <= 1


def test_seed_and_epoch_decide_the_batches() -> None:
    first = balanced_batches(LABELS, 8, 64, 0.5, seed=5, epoch=2)
    np.testing.assert_array_equal(first, balanced_batches(LABELS, 8, 64, 0.5, seed=5, epoch=2))
    assert (first != balanced_batches(LABELS, 8, 64, 0.5, seed=5, epoch=3)).mean() > 0.5
    assert (first != balanced_batches(LABELS, 8, 64, 0.5, seed=6, epoch=2)).mean() > 0.5


def test_few_samples_still_make_one_batch() -> None:
    labels = np.arange(8)
    batches = balanced_batches(labels, 8, 32, 1.0, seed=0, epoch=0)
    assert batches.shape == (1, 32)
    assert np.bincount(batches[0]).tolist() == [4] * 8
