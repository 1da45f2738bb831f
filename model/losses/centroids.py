"""Centroids of the classes in a batch of embeddings, and distances to them."""

import torch
from torch import Tensor


def class_centroids(embeddings: Tensor, labels: Tensor, class_count: int) -> tuple[Tensor, Tensor]:
    """The mean embedding of each class in a batch, through which gradients flow.

    Args:
        embeddings: (n, d) float.
        labels: (n,) int64 class indices.
        class_count: c.

    Returns:
        (c, d) centroids, zero for a class without samples, and (c,) bool, true for a class with samples.
    """
    membership = torch.nn.functional.one_hot(labels, class_count).to(embeddings.dtype)  # (n, c)
    counts = membership.sum(dim=0)  # (c,)
    sums = membership.T @ embeddings  # (c, d)
    return sums / counts.clamp(min=1).unsqueeze(1), counts > 0


def squared_distances(embeddings: Tensor, centroids: Tensor) -> Tensor:
    """(n, c) squared Euclidean distances of (n, d) embeddings to (c, d) centroids.

    Differences are squared one by one, because |z|^2 - 2 z.mu + |mu|^2 loses its digits where an embedding is close to
    its centroid, as at the end of training.
    """
    return (embeddings.unsqueeze(1) - centroids.unsqueeze(0)).square().sum(dim=2)


def squared_distances_to_class_centroids(
    embeddings: Tensor, labels: Tensor, class_count: int, *, leave_one_out: bool = False
) -> tuple[Tensor, Tensor]:
    """Squared distances of a batch to the centroids of its own classes.

    ``z_i`` is part of its own centroid, and so closer to it than a new sample would be, the more so the fewer samples
    a class has in the batch. A loss can then be lowered by spreading the embeddings without learning anything. With
    ``leave_one_out``, ``z_i`` is compared with the mean of the *other* ``n_j - 1`` samples of its class::

        z_i - mean of the others = n_j / (n_j - 1) (z_i - mu_j)

    Args:
        embeddings: (n, d) float.
        labels: (n,) int64 class indices.
        class_count: c.
        leave_one_out: leave each embedding out of its own centroid; a class of one sample keeps it.

    Returns:
        (n, c) squared distances, and (c,) bool, true for a class with samples.
    """
    centroids, present = class_centroids(embeddings, labels, class_count)
    squared = squared_distances(embeddings, centroids)  # (n, c)
    if leave_one_out:
        membership = torch.nn.functional.one_hot(labels, class_count)  # (n, c)
        counts = membership.sum(dim=0)[labels].to(squared.dtype).unsqueeze(1)  # (n, 1), of the own class
        factors = torch.where(counts > 1, (counts / (counts - 1).clamp(min=1)) ** 2, torch.ones_like(counts))
        squared = torch.where(membership.bool(), squared * factors, squared)
    return squared, present
