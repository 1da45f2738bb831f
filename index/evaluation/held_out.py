"""Faces that neither the network nor the mixture was fitted on, in the embedding space."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mien.model.emotions import EMOTIONS


@dataclass(frozen=True)
class HeldOutFaces:
    """Embedded faces with a strict majority of votes.

    Attributes:
        embeddings: (n, d) float32.
        labels: (n,) int64 indices into ``EMOTIONS``.
        votes: (n, 8) float32, the share of each emotion among the votes.
        groups: (n,) int64, of near copies.
    """

    embeddings: NDArray[np.float32]
    labels: NDArray[np.int64]
    votes: NDArray[np.float32]
    groups: NDArray[np.int64]

    @property
    def one_hot(self) -> NDArray[np.float32]:
        """(n, 8) the labels as distributions."""
        return np.eye(len(EMOTIONS), dtype=np.float32)[self.labels]
