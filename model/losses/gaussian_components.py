"""The Gaussian structured loss with several components per emotion: an emotion may look in more than one way."""

import torch
from torch import Tensor

from mien.model.losses.base import EmbeddedBatch, Loss
from mien.model.losses.centroids import class_centroids, squared_distances
from mien.model.losses.gaussian import brier_score
from mien.model.losses.gaussian_running import RunningCentroids
from mien.model.losses.sigma import Sigma


class GaussianComponentsLoss(Loss):
    """Each emotion has k running centroids; a face belongs to the nearest of its emotion's.

    The posterior of an emotion is the sum over its components, and is scored against the targets: which component
    a face belongs to is found, never given.
    """

    emotion_of: Tensor

    def __init__(self, sigma: Sigma, class_count: int, size: int, *, components: int, decay: float) -> None:
        super().__init__(sigma)
        self.components = components
        self.running = RunningCentroids(class_count * components, size, decay)
        self.register_buffer("emotion_of", torch.arange(class_count).repeat_interleave(components), persistent=False)

    def forward(self, batch: EmbeddedBatch) -> Tensor:
        """Brier score over all components, summed by emotion."""
        owners = self._nearest_component(batch.embeddings.detach(), batch.classes, batch.targets.shape[1])
        centroids, known = self.running(batch.embeddings, owners)
        return brier_score(
            squared_distances(batch.embeddings, centroids),
            known,
            batch.targets,
            self.sigma(batch.done),
            emotion_of=self.emotion_of,
        )

    def _nearest_component(self, embeddings: Tensor, labels: Tensor, class_count: int) -> Tensor:
        """(n,) the component of its own emotion that each embedding is nearest to.

        An emotion that is seen for the first time is cut along the batch's directions: its samples are dealt out by
        their place on the axis of widest spread, so that the components start apart.
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
