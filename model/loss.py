"""The Gaussian structured loss: it shapes the embedding space into a mixture of Gaussians.

Source: Marrero Fernandez, Guerrero Pena, Ren, Cunha: *Deep Metric Structured Learning for Facial Expression
Recognition*, arXiv 2001.06612.
"""

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


def gaussian_structured_loss(
    embeddings: Tensor, labels: Tensor, targets: Tensor, sigma: float, *, leave_one_out: bool = False
) -> Tensor:
    """Brier score of the batch's isotropic Gaussian mixture against target distributions.

    With the batch centroids ``mu_j`` and equal priors, for each embedding ``z_i``::

        pi_ij = softmax_j(-||z_i - mu_j||^2 / (2 sigma^2))
        L     = (1 / n) sum_i sum_j (pi_ij - t_ij)^2

    A class without samples in the batch takes no part. The posterior goes through log-softmax: the raw float32
    exponential has no gradient left once the nearest centroid is farther than about ``69 sigma^2``.

    ``z_i`` is part of its own centroid. In d dimensions that draws the centroid towards it by more than chance,
    the more so the fewer samples a class has in the batch, and the loss can then be lowered by spreading the
    embeddings without learning anything. With ``leave_one_out``, ``z_i`` is compared with the mean of the *other*
    samples of its class; because ``z_i - mu_j`` without ``z_i`` is ``n_j / (n_j - 1)`` times ``z_i - mu_j`` with
    it, that takes one factor.

    Args:
        embeddings: (n, d) float.
        labels: (n,) int64, the class whose centroid each embedding belongs to.
        targets: (n, c) float rows that sum to 1: one-hot as in the paper, or the shares of the raters' votes.
        sigma: standard deviation that all components share, in embedding units.
        leave_one_out: leave each embedding out of its own centroid; a class of one sample keeps it.

    Returns:
        () float, from 0 to 2. A uniform posterior over c classes against one-hot targets gives 1 - 1/c.
    """
    centroids, present = class_centroids(embeddings, labels, targets.shape[1])
    squared = squared_distances(embeddings, centroids)  # (n, c)
    if leave_one_out:
        membership = torch.nn.functional.one_hot(labels, targets.shape[1])  # (n, c)
        counts = membership.sum(dim=0)[labels].clamp(min=2).to(squared.dtype)  # (n,), of the own class
        own = ((counts / (counts - 1)) ** 2).unsqueeze(1)
        own = torch.where(membership.sum(dim=0)[labels].unsqueeze(1) > 1, own, torch.ones_like(own))
        squared = torch.where(membership.bool(), squared * own, squared)
    logits = -squared / (2 * sigma**2)
    posterior = logits.masked_fill(~present, -torch.inf).log_softmax(dim=1).exp()
    return ((posterior - targets) * present).square().sum(dim=1).mean()
