"""The Gaussian structured loss over running centroids.

As ``mien.model.losses.gaussian``, with moving averages ``m_j`` of the batch centroids ``mu_j`` in their place::

    m_j <- decay m_j + (1 - decay) mu_j
    L    = (1 / n) sum_i sum_j (softmax_j(-||z_i - m_j||^2 / (2 sigma^2)) - t_ij)^2

The average is less noisy: rare emotions have only two samples in a batch.
"""

import torch
from torch import Tensor, nn

from mien.model.losses.base import EmbeddedBatch, Loss
from mien.model.losses.centroids import class_centroids, squared_distances
from mien.model.losses.gaussian import brier_score
from mien.model.losses.sigma import Sigma


class RunningCentroids(nn.Module):
    """Moving averages of s centroids in d dimensions."""

    centroids: Tensor
    known: Tensor

    def __init__(self, count: int, size: int, decay: float) -> None:
        super().__init__()
        self.decay = decay
        self.register_buffer("centroids", torch.zeros(count, size))
        self.register_buffer("known", torch.zeros(count, dtype=torch.bool))

    def forward(self, embeddings: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Update the averages by a batch.

        Args:
            embeddings: (n, d) float.
            labels: (n,) int64, the centroid that each embedding belongs to.

        Returns:
            (s, d) averages including this batch, through whose share gradients flow; and (s,) bool, true for centroids
            that have had a sample.
        """
        batch, present = class_centroids(embeddings, labels, len(self.centroids))
        moved = self.decay * self.centroids + (1 - self.decay) * batch
        first = (present & ~self.known).unsqueeze(1)
        centroids = torch.where(first, batch, torch.where(present.unsqueeze(1), moved, self.centroids))
        if self.training:
            self.centroids = centroids.detach().clone()
            self.known = self.known | present
            return centroids, self.known
        return centroids, self.known | present


class RunningGaussianLoss(Loss):
    """Brier score of the mixture of running centroids."""

    def __init__(self, sigma: Sigma, class_count: int, size: int, *, decay: float) -> None:
        super().__init__(sigma)
        self.running = RunningCentroids(class_count, size, decay)

    def forward(self, batch: EmbeddedBatch) -> Tensor:
        """() float, from 0 to 2."""
        centroids, known = self.running(batch.embeddings, batch.classes)
        return brier_score(squared_distances(batch.embeddings, centroids), known, batch.targets, self.sigma(batch.done))
