"""The triplet loss: an anchor must be nearer to its own emotion than to any other, by a margin.

With anchors ``a``, positives ``p`` and negatives ``n``, the mean over all triplets of the batch that violate it::

    L = mean of d(a, p) - d(a, n) + margin, where that is positive

Source: Schroff, Kalenichenko, Philbin: *FaceNet*, arXiv 1503.03832; the mean over violating triplets from Hermans,
Beyer, Leibe: *In Defense of the Triplet Loss*, arXiv 1703.07737. The hardest triplets only let the embedding collapse.
"""

import torch
from torch import Tensor

from mien.model.losses.base import EmbeddedBatch, Loss
from mien.model.losses.sigma import Sigma

ROOT_FLOOR = 1e-12
"""Added under the root, so that the distance of two equal embeddings has a gradient."""


def pairwise_distances(embeddings: Tensor) -> Tensor:
    """(n, n) Euclidean distances of (n, d) embeddings."""
    return ((embeddings.unsqueeze(1) - embeddings.unsqueeze(0)).square().sum(dim=2) + ROOT_FLOOR).sqrt()


def triplets(labels: Tensor) -> Tensor:
    """(n, n, n) bool, true where the second sample has the label of the first and the third has another."""
    same = labels.unsqueeze(0) == labels.unsqueeze(1)
    positive = same & ~torch.eye(len(labels), dtype=torch.bool, device=labels.device)
    return positive.unsqueeze(2) & ~same.unsqueeze(1)


def mean_violation(gaps: Tensor, valid: Tensor) -> Tensor:
    """() float, the mean of the positive gaps among the valid ones; 0 if there are none."""
    violations = torch.where(valid, gaps, torch.zeros_like(gaps)).clamp(min=0)
    return violations.sum() / (violations > 0).sum().clamp(min=1)


def triplet_loss(embeddings: Tensor, labels: Tensor, margin: float) -> Tensor:
    """() float, the triplet loss of (n, d) embeddings with (n,) labels."""
    distances = pairwise_distances(embeddings)
    return mean_violation(distances.unsqueeze(2) - distances.unsqueeze(1) + margin, triplets(labels))


class TripletLoss(Loss):
    """The triplet loss on the classes of a batch."""

    def __init__(self, sigma: Sigma, *, margin: float) -> None:
        super().__init__(sigma)
        self.margin = margin

    def forward(self, batch: EmbeddedBatch) -> Tensor:
        """() float; the targets are not used."""
        return triplet_loss(batch.embeddings, batch.classes, self.margin)
