"""The Gaussian structured loss with several components for each emotion.

As ``mien.model.losses.gaussian``, with k running centroids for each emotion, whose posterior is the sum over them::

    pi_ij = sum over the components m of emotion j of softmax_m(-||z_i - mu_m||^2 / (2 sigma^2))
    L     = (1 / n) sum_i sum_j (pi_ij - t_ij)^2
"""

import torch
from torch import Tensor

from mien.model.losses.base import EmbeddedBatch, Loss
from mien.model.losses.centroids import class_centroids, squared_distances
from mien.model.losses.gaussian import brier_score
from mien.model.losses.gaussian_running import RunningCentroids
from mien.model.losses.sigma import Sigma


class GaussianComponentsLoss(Loss):
    """Brier score of a mixture with several running centroids for each emotion.

    An embedding moves the nearest centroid of its emotion. The components are found in training, not labelled.
    """

    emotion_of: Tensor

    def __init__(self, sigma: Sigma, class_count: int, size: int, *, components: int, decay: float) -> None:
        super().__init__(sigma)
        self.components = components
        self.running = RunningCentroids(class_count * components, size, decay)
        self.register_buffer("emotion_of", torch.arange(class_count).repeat_interleave(components), persistent=False)

    def forward(self, batch: EmbeddedBatch) -> Tensor:
        """() float, from 0 to 2."""
        components = self._nearest_component(batch.embeddings.detach(), batch.classes, batch.targets.shape[1])
        centroids, known = self.running(batch.embeddings, components)
        return brier_score(
            squared_distances(batch.embeddings, centroids),
            known,
            batch.targets,
            self.sigma(batch.done),
            emotion_of=self.emotion_of,
        )

    def _nearest_component(self, embeddings: Tensor, labels: Tensor, class_count: int) -> Tensor:
        """(n,) for each embedding, the nearest component of its emotion.

        In the first batch with an emotion, its samples are split evenly by their order along their first principal
        component, so that the centroids start apart.
        """
        squared = squared_distances(embeddings, self.running.centroids)  # (n, c k)
        own = self.emotion_of.unsqueeze(0) == labels.unsqueeze(1)
        nearest = squared.masked_fill(~(own & self.running.known), torch.inf).argmin(dim=1)
        complete = self.running.known.view(class_count, self.components).all(dim=1)
        means, _ = class_centroids(embeddings, labels, class_count)
        for label in torch.bincount(labels).nonzero().squeeze(1).tolist():
            if complete[label]:
                continue
            rows = (labels == label).nonzero().squeeze(1)
            centred = embeddings[rows] - means[label]
            axis = torch.linalg.svd(centred.double(), full_matrices=False).Vh[0].to(centred.dtype)
            ranks = (centred @ axis).argsort().argsort()
            nearest[rows] = label * self.components + ranks * self.components // len(rows)
        return nearest
