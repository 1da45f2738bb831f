"""What a portrait is taken for: the probability of each sub-class of each emotion, as the service names a face.

Two points may lie near one another and yet be named differently, and far apart and be named alike: a portrait that is
to show a sub-class has to be read on that sub-class's side, not just nearby.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


@dataclass(frozen=True)
class SubClassGaussians:
    """The Gaussians of the sub-classes, of all emotions in a row; an emotion without sub-classes is its own.

    Attributes:
        emotion_centroids: (c, d).
        sigma: of the emotions' posterior.
        emotion: (s,) int64, which emotion each Gaussian belongs to.
        log_weights: (s,) of each within its emotion, nats.
        centroids: (s, d).
        whitening: (s, d, d) inverses of the covariances' Cholesky factors.
    """

    emotion_centroids: NDArray[np.float64]
    sigma: float
    emotion: NDArray[np.int64]
    log_weights: NDArray[np.float64]
    centroids: NDArray[np.float64]
    whitening: NDArray[np.float64]


class SubClassPosterior:
    """Log probabilities of sub-classes, through which gradients flow."""

    def __init__(self, gaussians: SubClassGaussians) -> None:
        """Name by ``gaussians``."""
        self._sigma = gaussians.sigma
        self._emotions = torch.from_numpy(gaussians.emotion_centroids.astype(np.float32))
        self._centroids = torch.from_numpy(gaussians.centroids.astype(np.float32))
        self._whitening = torch.from_numpy(gaussians.whitening.astype(np.float32))
        self._emotion = torch.from_numpy(gaussians.emotion)
        # The determinant of a Gaussian's whitening is that of its density, but for a constant that all share.
        diagonals = np.diagonal(gaussians.whitening, axis1=1, axis2=2)
        heights = gaussians.log_weights + np.log(diagonals).sum(axis=1)
        self._heights = torch.from_numpy(heights.astype(np.float32))
        members = self._emotion[None, :] == torch.arange(len(self._emotions))[:, None]  # (c, s)
        self._strangers = torch.where(members, 0.0, -math.inf)

    def __call__(self, points: Tensor) -> Tensor:
        """(n, s) log probability of each sub-class at (n, d) points; rows sum to 1 as probabilities."""
        far = (points[:, None] - self._emotions).square().sum(dim=2)
        emotions = torch.log_softmax(-far / (2 * self._sigma**2), dim=1)  # (n, c)
        whitened = torch.einsum("sde,nse->nsd", self._whitening, points[:, None] - self._centroids)
        joint = self._heights - whitened.square().sum(dim=2) / 2  # (n, s)
        within = joint - torch.logsumexp(joint[:, None] + self._strangers, dim=2)[:, self._emotion]
        return emotions[:, self._emotion] + within

    def difference(self, asked: Tensor, read: Tensor) -> Tensor:
        """Mean Kullback-Leibler divergence of what is read at (n, d) points from what is asked at others, nats."""
        wanted = self(asked)
        return (wanted.exp() * (wanted - self(read))).sum(dim=1).mean()
