"""Softmax cross-entropy: the usual baseline, with a linear layer on the embedding and no Gaussians.

L = -(1 / n) sum_i sum_j t_ij log softmax_j(W z_i + b)
"""

from torch import Tensor, nn

from mien.model.losses.base import EmbeddedBatch, Loss
from mien.model.losses.sigma import Sigma


class SoftmaxLoss(Loss):
    """Cross-entropy of a linear layer's softmax against target distributions."""

    def __init__(self, sigma: Sigma, class_count: int, size: int) -> None:
        super().__init__(sigma)
        self.head = nn.Linear(size, class_count)

    def logits(self, embeddings: Tensor) -> Tensor:
        """(n, c) logits of (n, d) embeddings."""
        logits: Tensor = self.head(embeddings)
        return logits

    def forward(self, batch: EmbeddedBatch) -> Tensor:
        """() float, in nats; the classes are not used."""
        return -(batch.targets * self.logits(batch.embeddings).log_softmax(dim=1)).sum(dim=1).mean()
