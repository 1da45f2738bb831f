"""The Gaussian structured loss over running centroids: the batch's, steadied by those of the batches before it."""

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
        """Move the averages by a batch.

        Args:
            embeddings: (n, d) float.
            labels: (n,) int64, the centroid that each embedding belongs to.

        Returns:
            (s, d) averages, this batch taken in: the gradient flows through its share; and (s,) bool, true for
            centroids that have been seen.
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
    """Rare emotions have two samples in a batch, and a mean of two is a poor centroid: the average is a better one."""

    def __init__(self, sigma: Sigma, class_count: int, size: int, *, decay: float) -> None:
        super().__init__(sigma)
        self.running = RunningCentroids(class_count, size, decay)

    def forward(self, batch: EmbeddedBatch) -> Tensor:
        """Brier score of the mixture of running centroids."""
        centroids, known = self.running(batch.embeddings, batch.classes)
        return brier_score(squared_distances(batch.embeddings, centroids), known, batch.targets, self.sigma(batch.done))
