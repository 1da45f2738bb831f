"""Average faces: what the faces around a point of the embedding space have in common.

An average of dozens of aligned faces looks like a person, shows the expression that they share, and is nobody's face.
"""

from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray

Embed = Callable[[NDArray[np.uint8]], NDArray[np.float32]]

CONTRAST: Final = 0.22
"""Standard deviation of the grey values of a portrait, from 0 to 1: the mean of FER2013."""

STEP: Final = 0.7
"""How far the middle of the average moves in a round, as a share of the distance that is missing."""


class AverageFaces:
    """Averages of the faces that are embedded nearest to a point."""

    def __init__(self, crops: NDArray[np.uint8], embeddings: NDArray[np.float32], neighbours: int) -> None:
        """The faces to average.

        Args:
            crops: (n, h, w) aligned faces.
            embeddings: (n, d) of them.
            neighbours: how many faces an average is made of.
        """
        greys = crops.astype(np.float32)
        self._faces = (greys + greys[:, :, ::-1]) / 2  # a mirrored face has the same expression
        self._embeddings = embeddings.astype(np.float32)
        self._squares = np.square(self._embeddings).sum(axis=1)
        self._neighbours = min(neighbours, len(crops))

    def around(self, points: NDArray[np.float32]) -> NDArray[np.float32]:
        """(m, h, w) standardised averages of the faces nearest to each of (m, d) points."""
        averages = np.empty((len(points), *self._faces.shape[1:]), dtype=np.float32)
        for row, point in enumerate(points):
            distances = self._squares - 2 * self._embeddings @ point  # squared, up to a constant
            nearest = np.argpartition(distances, self._neighbours - 1)[: self._neighbours]
            averages[row] = self._faces[nearest].mean(axis=0)
        return _standardise(averages)

    def embedded_at(self, points: NDArray[np.float32], embed: Embed, rounds: int) -> NDArray[np.float32]:
        """Averages whose own embeddings are as near to the points as can be found.

        An expression is fainter in an average than in its faces. So the average is taken around another point, which
        moves in each round by what the embedding is short of: sadness, for one, is averaged around sadder faces.

        Args:
            points: (m, d).
            embed: from (m, h, w) uint8 faces to (m, d) embeddings.
            rounds: averages that are tried for each point; the best is returned.

        Returns:
            (m, h, w) standardised faces.
        """
        middles, best = points.copy(), self.around(points)
        least = np.full(len(points), np.inf)
        for number in range(rounds):
            found = best if number == 0 else self.around(middles)
            missing = points - embed(to_greys(found))
            squared = np.square(missing).sum(axis=1)
            closer = squared < least
            best[closer], least[closer] = found[closer], squared[closer]
            middles = middles + STEP * missing
        return best


def lead_of_the_closest(portraits: NDArray[np.uint8], crops: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(m,) how much more each portrait is like one face than like others: near 0 for an average, large for a copy.

    It is the correlation of greys with the face most like the portrait, less that with the tenth.

    Args:
        portraits: (m, h, w).
        crops: (n, h, w) aligned faces, at least eleven. A correlation of 0.999 is that of a face with itself, and is
            left out.
    """
    flat = [_standardise(each.astype(np.float32)).reshape(len(each), -1) for each in (portraits, crops)]
    correlations = flat[0] @ flat[1].T / flat[0].shape[1]
    ranked = -np.sort(-np.where(correlations < 0.999, correlations, -1), axis=1)
    return np.asarray(ranked[:, 0] - ranked[:, 9])


def to_greys(standardised: NDArray[np.float32]) -> NDArray[np.uint8]:
    """(m, h, w) grey levels of standardised faces; all portraits have the same contrast."""
    greys = (0.5 + CONTRAST * standardised).clip(0, 1) * 255
    return np.asarray(np.rint(greys), dtype=np.uint8)


def _standardise(faces: NDArray[np.float32]) -> NDArray[np.float32]:
    """(m, h, w) faces of mean 0 and standard deviation 1."""
    middle = faces.mean(axis=(1, 2), keepdims=True)
    spread = faces.std(axis=(1, 2), keepdims=True)
    return np.asarray((faces - middle) / np.maximum(spread, 1e-3), dtype=np.float32)
