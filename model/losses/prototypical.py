"""Prototypical cross-entropy: the posterior of the Gaussian loss, scored by its logarithm.

With the batch centroids ``mu_j``::

    L = -(1 / n) sum_i sum_j t_ij log softmax_j(-||z_i - mu_j||^2 / (2 sigma^2))

Source: Snell, Swersky, Zemel: *Prototypical Networks for Few-shot Learning*, arXiv 1703.05175. There, a batch is split
into samples that make the centroids and samples that are scored; here each sample is scored, with ``leave_one_out``
against centroids of the others.
"""

import torch
from torch import Tensor

from mien.model.losses.base import EmbeddedBatch, Loss
from mien.model.losses.centroids import squared_distances_to_class_centroids
from mien.model.losses.sigma import Sigma


class PrototypicalLoss(Loss):
    """Cross-entropy of the batch's isotropic Gaussian mixture against target distributions."""

    def __init__(self, sigma: Sigma, *, leave_one_out: bool) -> None:
        super().__init__(sigma)
        self.leave_one_out = leave_one_out

    def forward(self, batch: EmbeddedBatch) -> Tensor:
        """() float, in nats."""
        squared, present = squared_distances_to_class_centroids(
            batch.embeddings, batch.classes, batch.targets.shape[1], leave_one_out=self.leave_one_out
        )
        logits = (-squared / (2 * self.sigma(batch.done) ** 2)).masked_fill(~present, -torch.inf)
        scores = torch.where(present, batch.targets * logits.log_softmax(dim=1), torch.zeros_like(batch.targets))
        return -scores.sum(dim=1).mean()
