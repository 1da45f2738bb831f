"""Softmax cross-entropy: the usual baseline, one linear layer on the embedding, which shapes no Gaussians."""

from torch import Tensor, nn

from mien.model.losses.base import EmbeddedBatch, Loss
from mien.model.losses.sigma import Sigma


class SoftmaxLoss(Loss):
    """Cross-entropy of a linear layer's softmax against target distributions."""

    def __init__(self, sigma: Sigma, class_count: int, size: int) -> None:
        super().__init__(sigma)
        self.head = nn.Linear(size, class_count)

    def logits(self, embeddings: Tensor) -> Tensor:
        """(n, c) of (n, d) embeddings."""
        scored: Tensor = self.head(embeddings)
        return scored

    def forward(self, batch: EmbeddedBatch) -> Tensor:
        """Cross-entropy; labels take no part."""
        return -(batch.targets * self.logits(batch.embeddings).log_softmax(dim=1)).sum(dim=1).mean()
