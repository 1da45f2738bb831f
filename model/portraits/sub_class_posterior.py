"""Probabilities of sub-classes at points of the embedding space, in torch, as the service computes them for a face.

The training of portraits compares them: two points that are near to each other may belong to different sub-classes, and
points far apart to the same one.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


@dataclass(frozen=True)
class SubClassGaussians:
    """The Gaussians of the sub-classes of all emotions; an emotion without sub-classes has one.

    Attributes:
        emotion_centroids: (c, d).
        sigma: standard deviation of the emotions' Gaussians.
        emotion: (s,) int64, the emotion of each sub-class.
        log_weights: (s,) weight of each sub-class within its emotion, nats.
        centroids: (s, d).
        whitening: (s, d, d) inverses of the Cholesky factors of the covariances.
    """

    emotion_centroids: NDArray[np.float64]
    sigma: float
    emotion: NDArray[np.int64]
    log_weights: NDArray[np.float64]
    centroids: NDArray[np.float64]
    whitening: NDArray[np.float64]


class SubClassPosterior:
    """Log probabilities of sub-classes, through which gradients flow to the points."""

    def __init__(self, gaussians: SubClassGaussians) -> None:
        """Copy the Gaussians to torch."""
        self._sigma = gaussians.sigma
        self._emotions = torch.from_numpy(gaussians.emotion_centroids.astype(np.float32))
        self._centroids = torch.from_numpy(gaussians.centroids.astype(np.float32))
        self._whitening = torch.from_numpy(gaussians.whitening.astype(np.float32))
        self._emotion = torch.from_numpy(gaussians.emotion)
        # The factor of a Gaussian's density is the determinant of its whitening, up to a constant.
        diagonals = np.diagonal(gaussians.whitening, axis1=1, axis2=2)
        heights = gaussians.log_weights + np.log(diagonals).sum(axis=1)
        self._heights = torch.from_numpy(heights.astype(np.float32))
        members = self._emotion[None, :] == torch.arange(len(self._emotions))[:, None]  # (c, s)
        self._mask = torch.where(members, 0.0, -math.inf)

    def __call__(self, points: Tensor) -> Tensor:
        """(n, s) log probabilities of the sub-classes at (n, d) points."""
        far = (points[:, None] - self._emotions).square().sum(dim=2)
        emotions = torch.log_softmax(-far / (2 * self._sigma**2), dim=1)  # (n, c)
        whitened = torch.einsum("sde,nse->nsd", self._whitening, points[:, None] - self._centroids)
        joint = self._heights - whitened.square().sum(dim=2) / 2  # (n, s)
        within = joint - torch.logsumexp(joint[:, None] + self._mask, dim=2)[:, self._emotion]
        return emotions[:, self._emotion] + within

    def difference(self, targets: Tensor, points: Tensor) -> Tensor:
        """() float, mean Kullback-Leibler divergence of the posteriors at (n, d) targets and (n, d) points, nats."""
        expected = self(targets)
        return (expected.exp() * (expected - self(points))).sum(dim=1).mean()
