"""Batches balanced by class, with several samples of each class, since its centroid is their mean."""

import numpy as np
from numpy.typing import NDArray

from mien.model.errors import ConfigError


def class_shares(labels: NDArray[np.int64], class_count: int, balance: float, batch_size: int) -> NDArray[np.int64]:
    """The number of samples of each class in every batch.

    Numbers are proportional to ``count ** (1 - balance)``: 1 gives each class the same number, as in the paper, and 0
    the shares of the data. Every class with samples gets at least two, so that its centroid is a mean.

    Args:
        labels: (n,) class indices.
        class_count: c.
        balance: from 0 to 1.
        batch_size: the sum of the result.

    Returns:
        (c,) int64 that sum to ``batch_size``.

    Raises:
        ConfigError: the batch is too small for two samples of each class, or there are no samples at all.
    """
    counts = np.bincount(labels, minlength=class_count)
    present = counts > 0
    if not present.any():
        raise ConfigError("batches need labelled samples, got none")
    if batch_size < 2 * int(present.sum()):
        raise ConfigError(
            f"a batch needs at least two samples of each of {int(present.sum())} classes, "
            f"got a batch size of {batch_size}"
        )
    weights = np.where(present, counts.astype(np.float64) ** (1 - balance), 0.0)
    ideal = weights / weights.sum() * (batch_size - 2 * present.sum())
    shares: NDArray[np.int64] = np.where(present, 2, 0) + np.floor(ideal).astype(np.int64)
    # Largest remainder method: samples left over by rounding go to the largest fractions.
    leftover = batch_size - int(shares.sum())
    shares[np.argsort(np.where(present, np.floor(ideal) - ideal, 1.0), kind="stable")[:leftover]] += 1
    return shares


def balanced_batches(
    labels: NDArray[np.int64], class_count: int, batch_size: int, balance: float, *, seed: int, epoch: int
) -> NDArray[np.int64]:
    """The batches of one epoch, as many as the labels fill; the samples of each class are drawn in shuffled rounds.

    The same seed and epoch give the same batches, so that an epoch can be resumed where it stopped.

    Args:
        labels: (n,) class indices.
        class_count: c.
        batch_size: samples of a batch.
        balance: see ``class_shares``.
        seed: of the training.
        epoch: number of the epoch.

    Returns:
        (batches, batch_size) int64 indices into ``labels``; at least one batch, even if the labels do not fill it.

    Raises:
        ConfigError: see ``class_shares``.
    """
    generator = np.random.default_rng((seed, epoch))
    batch_count = max(1, len(labels) // batch_size)
    shares = class_shares(labels, class_count, balance, batch_size)
    columns: list[NDArray[np.int64]] = []
    for label, share in enumerate(shares):
        if share == 0:
            continue
        rows = np.flatnonzero(labels == label)
        rounds = -(-batch_count * int(share) // len(rows))
        drawn = np.concatenate([generator.permutation(rows) for _ in range(rounds)])
        columns.append(drawn[: batch_count * share].reshape(batch_count, share))
    return np.concatenate(columns, axis=1)
