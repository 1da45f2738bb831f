"""Random points with the distribution of face embeddings."""

import numpy as np
from numpy.typing import NDArray

from mien.index.bundle.bundle import load_bundle
from mien.index.bundle.default import default_bundle


def draw_points(count: int, seed: int) -> NDArray[np.float32]:
    """(count, d) points of the shipped mixture, emotions as frequent as in the shipped gallery."""
    mixture = load_bundle(default_bundle()).mixture
    generator = np.random.default_rng(seed)
    emotions = generator.choice(len(mixture.emotions), count, p=mixture.weights / mixture.weights.sum())
    points = np.empty((count, mixture.centroids.shape[1]), dtype=np.float32)
    for emotion, (centroid, covariance) in enumerate(zip(mixture.centroids, mixture.covariances, strict=True)):
        rows = np.flatnonzero(emotions == emotion)
        points[rows] = generator.multivariate_normal(centroid, covariance, len(rows), method="cholesky")
    return points
