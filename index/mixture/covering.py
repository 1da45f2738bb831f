"""Coverings: whether the mouth or the eyes of a face are covered, by a mask, a hand or sunglasses.

The posterior does not show it: a network names the part of the face that it sees. A linear test looks at the crop and
at its embedding. It is fitted on drawn coverings (``mien.index.fitting.covering``).
"""

from dataclasses import dataclass
from functools import cache
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

Part = Literal["mouth", "eyes"]

PARTS: Final[tuple[Part, ...]] = ("mouth", "eyes")

_GREYS: Final = 8
"""Cells along a side whose mean grey is a feature."""

_EDGES: Final = 12
"""Cells along a side whose mean difference of neighbouring pixels, down and across, are features."""

FEATURES: Final = _GREYS**2 + 2 * _EDGES**2
"""Features of a crop; those of its embedding come on top."""

_LEAST_CONTRAST: Final = 8.0
"""Added to the standard deviation of a crop's greys, by which its features are divided."""


@dataclass(frozen=True)
class CoveringTest:
    """Linear tests of p parts over f features.

    Attributes:
        weights: (p, f) float64.
        biases: (p,) float64; a part is covered where weights . features + bias is above 0.
    """

    weights: NDArray[np.float64]
    biases: NDArray[np.float64]

    def covered(self, crops: NDArray[np.uint8], embeddings: NDArray[np.floating]) -> NDArray[np.bool_]:
        """(n, p) whether each of ``PARTS`` is covered, of (n, side, side) crops with (n, d) embeddings."""
        return np.asarray(covering_features(crops, embeddings) @ self.weights.T + self.biases > 0)


def covering_features(crops: NDArray[np.uint8], embeddings: NDArray[np.floating]) -> NDArray[np.float32]:
    """What the test looks at: the embedding, coarse greys, and where the crop has edges.

    Args:
        crops: (n, side, side) uint8 grey.
        embeddings: (n, d) their points.

    Returns:
        (n, d + FEATURES) float32.
    """
    count, side = crops.shape[:2]
    greys = crops.astype(np.float32)
    coarse, cells = _averaging(side, _GREYS), _averaging(side, _EDGES)
    means = coarse @ greys @ coarse.T  # (n, 8, 8)
    mean = greys.mean(axis=(1, 2), keepdims=True)
    contrast = greys.std(axis=(1, 2), keepdims=True) + _LEAST_CONTRAST
    down = cells[:, : side - 1] @ np.abs(greys[:, 1:] - greys[:, :-1]) @ cells.T
    across = cells @ np.abs(greys[:, :, 1:] - greys[:, :, :-1]) @ cells[:, : side - 1].T
    parts = (embeddings, (means - mean) / contrast, np.sqrt(down / contrast), np.sqrt(across / contrast))
    return np.concatenate([part.reshape(count, -1).astype(np.float32, copy=False) for part in parts], axis=1)


@cache
def _averaging(side: int, cells: int) -> NDArray[np.float32]:
    """(cells, side) matrix that averages a side's pixels over cells."""
    cell_of = np.arange(side) * cells // side
    ones = (cell_of == np.arange(cells)[:, None]).astype(np.float32)
    return np.asarray(ones / ones.sum(axis=1, keepdims=True))
