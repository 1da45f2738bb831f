"""Centroids of classes in a batch of embeddings, and the distances to them."""

import torch
from torch import Tensor


def class_centroids(embeddings: Tensor, labels: Tensor, class_count: int) -> tuple[Tensor, Tensor]:
    """The mean embedding of each class in a batch; the gradient flows through it.

    Args:
        embeddings: (n, d) float.
        labels: (n,) int64 class indices.
        class_count: c.

    Returns:
        (c, d) centroids, zero for a class without samples, and (c,) bool, true for a class that has samples.
    """
    membership = torch.nn.functional.one_hot(labels, class_count).to(embeddings.dtype)  # (n, c)
    counts = membership.sum(dim=0)  # (c,)
    sums = membership.T @ embeddings  # (c, d)
    return sums / counts.clamp(min=1).unsqueeze(1), counts > 0


def squared_distances(embeddings: Tensor, centroids: Tensor) -> Tensor:
    """(n, c) squared Euclidean distances of (n, d) embeddings to (c, d) centroids.

    Differences are formed before they are squared: the shorter |z|^2 - 2 z.mu + |mu|^2 cancels badly when an
    embedding lies close to its centroid, which is where training ends.
    """
    return (embeddings.unsqueeze(1) - centroids.unsqueeze(0)).square().sum(dim=2)


def squared_distances_to_class_centroids(
    embeddings: Tensor, labels: Tensor, class_count: int, *, leave_one_out: bool = False
) -> tuple[Tensor, Tensor]:
    """Squared distances of a batch to the centroids of its own classes.

    ``z_i`` is part of its own centroid. In d dimensions that draws the centroid towards it by more than chance,
    the more so the fewer samples a class has in the batch, and a loss can then be lowered by spreading the
    embeddings without learning anything. With ``leave_one_out``, ``z_i`` is compared with the mean of the *other*
    samples of its class; because ``z_i - mu_j`` without ``z_i`` is ``n_j / (n_j - 1)`` times ``z_i - mu_j`` with
    it, that takes one factor.

    Args:
        embeddings: (n, d) float.
        labels: (n,) int64 class indices.
        class_count: c.
        leave_one_out: leave each embedding out of its own centroid; a class of one sample keeps it.

    Returns:
        (n, c) squared distances, and (c,) bool, true for a class that has samples.
    """
    centroids, present = class_centroids(embeddings, labels, class_count)
    squared = squared_distances(embeddings, centroids)  # (n, c)
    if leave_one_out:
        membership = torch.nn.functional.one_hot(labels, class_count)  # (n, c)
        counts = membership.sum(dim=0)[labels].to(squared.dtype).unsqueeze(1)  # (n, 1), of the own class
        factors = torch.where(counts > 1, (counts / (counts - 1).clamp(min=1)) ** 2, torch.ones_like(counts))
        squared = torch.where(membership.bool(), squared * factors, squared)
    return squared, present
