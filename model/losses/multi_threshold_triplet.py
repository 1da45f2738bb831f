"""The multi-threshold triplet loss: slices of the embedding with different margins.

Source: Yang, Yu, Chen, Liu, Wang, Shen: *Multi-threshold Deep Metric Learning for Facial Expression Recognition*,
arXiv 2406.16434. In place of one margin that has to be tuned, each slice of the embedding has one, spread over a range.
For each anchor, the hardest triplet of the batch counts. The negative is compared with both the anchor and the positive
(dual triplet loss); compared with the anchor only, the hardest triplets let the embedding collapse.
"""

import torch
from torch import Tensor

from mien.model.errors import ConfigError
from mien.model.losses.base import EmbeddedBatch, Loss
from mien.model.losses.sigma import Sigma
from mien.model.losses.triplet import pairwise_distances


def dual_triplet_loss(embeddings: Tensor, labels: Tensor, margin: float) -> Tensor:
    """Mean over anchors of ``[d(a, p) - d(a, n) + margin]+ + [d(a, p) - d(p, n) + margin]+``.

    ``p`` is the farthest sample with the label of the anchor ``a``, ``n`` the nearest sample with another label.
    Anchors without either are left out.

    Args:
        embeddings: (n, d) float.
        labels: (n,) int64.
        margin: in embedding units.

    Returns:
        () float, 0 if no anchor is left.
    """
    distances = pairwise_distances(embeddings)
    same = labels.unsqueeze(0) == labels.unsqueeze(1)
    positive = same & ~torch.eye(len(labels), dtype=torch.bool, device=labels.device)
    taking_part = positive.any(dim=1) & (~same).any(dim=1)
    if not taking_part.any():
        return embeddings.sum() * 0
    farthest = distances.masked_fill(~positive, -torch.inf).argmax(dim=1)
    nearest = distances.masked_fill(same, torch.inf).argmin(dim=1)
    anchors = torch.arange(len(labels), device=labels.device)
    to_positive = distances[anchors, farthest]
    from_anchor = (to_positive - distances[anchors, nearest] + margin).clamp(min=0)
    from_positive = (to_positive - distances[farthest, nearest] + margin).clamp(min=0)
    return (from_anchor + from_positive)[taking_part].mean()


class MultiThresholdTripletLoss(Loss):
    """Mean dual triplet loss over slices of equal width, whose margins grow evenly up to ``largest_margin``."""

    def __init__(self, sigma: Sigma, size: int, *, largest_margin: float, slices: int) -> None:
        super().__init__(sigma)
        if size % slices:
            raise ConfigError(f"slices must divide the {size} dimensions of the embedding, got {slices}")
        self.margins: list[float] = torch.linspace(0, largest_margin, slices + 1)[1:].tolist()

    def forward(self, batch: EmbeddedBatch) -> Tensor:
        """() float; the targets are not used."""
        parts = batch.embeddings.chunk(len(self.margins), dim=1)
        losses = [
            dual_triplet_loss(part, batch.classes, margin) for part, margin in zip(parts, self.margins, strict=True)
        ]
        return torch.stack(losses).mean()
