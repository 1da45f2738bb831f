"""Embeddings in clouds, whose owners are known."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from mien.index.fitting.sub_classes import DiscoveryConfig, DiscoveryFaces
from mien.index.mixture.emotion_mixture import EmotionFaces
from mien.model.emotions import EMOTIONS, VOTE_COLUMNS

QUICK_DISCOVERY: Final = DiscoveryConfig(components_max=3, least_faces=20, halvings=2, restarts=2)


def two_clouds(count: int = 400, size: int = 12, seed: int = 0) -> tuple[EmotionFaces, NDArray[np.int64]]:
    """Faces in two clouds, far apart along one axis, with noise along the others; and the cloud of each."""
    generator = np.random.default_rng(seed)
    owner = generator.integers(0, 2, count)
    points = 0.3 * generator.normal(size=(count, size))
    points[:, 0] += 6.0 * owner
    return EmotionFaces(points, np.ones(count), np.ones(count, dtype=np.bool_), np.arange(count)), owner


def two_sorts_of_happiness(each: int = 120, seed: int = 0) -> tuple[DiscoveryFaces, NDArray[np.int64]]:
    """Faces of eight emotions, and their sort: 1 for a second cloud of happiness, which has votes for surprise as well.

    The last tenth of happiness has no majority.
    """
    generator = np.random.default_rng(seed)
    labels = np.repeat(np.arange(len(EMOTIONS)), each)
    sort = generator.integers(0, 2, len(labels)) * (labels == 1)
    points = 0.4 * generator.normal(size=(len(labels), 10))
    points[np.arange(len(labels)), labels] += 8.0
    points[:, 9] += 5.0 * sort
    votes = np.zeros((len(labels), len(VOTE_COLUMNS)), dtype=np.int64)
    votes[np.arange(len(labels)), labels] = 10
    votes[sort == 1, 1], votes[sort == 1, 2] = 7, 3
    unclear = np.flatnonzero(labels == 1)[-each // 10 :]
    votes[unclear] = 0
    votes[unclear, 1], votes[unclear, 3] = 5, 5
    ids = tuple(f"face{row}" for row in range(len(labels)))
    known = np.ones(len(labels), dtype=np.bool_)
    return DiscoveryFaces(ids, points, votes, np.arange(len(labels)), known), sort
