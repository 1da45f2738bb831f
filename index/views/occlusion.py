"""Occlusion maps: which parts of a face a score depends on.

A grey patch covers one place of the face after the other; where the score falls, the place matters.

Source: Zeiler, Fergus: *Visualizing and Understanding Convolutional Networks*, arXiv 1311.2901, section 4.2.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mien.index.mixture.mixture import Mixture
from mien.model.emotions import EmotionPrior

PATCH_PX: Final = 12
STEP_PX: Final = 4

Embed = Callable[[NDArray[np.uint8]], NDArray[np.float32]]


@dataclass(frozen=True)
class Occlusion:
    """Embeddings of a face, uncovered and with one place after the other covered.

    Attributes:
        whole: (d,) float32, of the uncovered face.
        covered: (p, d) float32, of the face under each patch.
        places: (p,) row and column of each patch's top left corner, in steps of ``STEP_PX``.
        shape: rows and columns of a map.
    """

    whole: NDArray[np.float32]
    covered: NDArray[np.float32]
    places: tuple[tuple[int, int], ...]
    shape: tuple[int, int]

    def score_drop(self, score: Callable[[NDArray[np.float32]], NDArray[np.floating]]) -> NDArray[np.float64]:
        """How much a score depends on each place.

        Args:
            score: from (n, d) embeddings to (n,).

        Returns:
            (h / STEP_PX, w / STEP_PX) float64: the mean drop of the score over the patches that cover a place;
            negative where it rises.
        """
        whole, *others = score(np.concatenate([self.whole[None], self.covered])).tolist()
        drop, count = np.zeros(self.shape), np.zeros(self.shape)
        side = PATCH_PX // STEP_PX
        for (top, left), other in zip(self.places, others, strict=True):
            drop[top : top + side, left : left + side] += whole - other
            count[top : top + side, left : left + side] += 1
        return np.asarray(drop / count)


def occlude(crop: NDArray[np.uint8], embed: Embed) -> Occlusion:
    """Cover one place of a face after the other.

    Args:
        crop: (h, w) uint8, sides that ``STEP_PX`` divides.
        embed: from (n, h, w) crops to (n, d) embeddings.
    """
    height, width = crop.shape
    rows, columns = ((side - PATCH_PX) // STEP_PX + 1 for side in (height, width))
    places = tuple((top, left) for top in range(rows) for left in range(columns))
    grey = np.uint8(round(float(crop.mean())))
    faces = np.repeat(crop[None], len(places) + 1, axis=0)
    for picture, (top, left) in zip(faces[1:], places, strict=True):
        y, x = top * STEP_PX, left * STEP_PX
        picture[y : y + PATCH_PX, x : x + PATCH_PX] = grey
    embeddings = embed(faces)
    return Occlusion(embeddings[0], embeddings[1:], places, (height // STEP_PX, width // STEP_PX))


def emotion_map(
    occlusion: Occlusion, mixture: Mixture, emotion: int, prior: EmotionPrior = "uniform"
) -> NDArray[np.float64]:
    """How much an emotion's probability depends on each place of a face; see ``Occlusion.score_drop``.

    Args:
        occlusion: of the face.
        mixture: gives the probability.
        emotion: index of the emotion.
        prior: weights of the emotions.
    """
    return occlusion.score_drop(lambda embeddings: mixture.posterior(embeddings, prior)[:, emotion])


def closeness_map(occlusion: Occlusion, point: NDArray[np.floating]) -> NDArray[np.float64]:
    """How much a face's closeness to a point depends on each place of it.

    Args:
        occlusion: of the face.
        point: (d,) such as the embedding of a match.

    Returns:
        As ``Occlusion.score_drop``, in embedding units: how much farther from the point the face lies when the place
        is covered; negative where the place keeps the two apart.
    """
    return occlusion.score_drop(lambda embeddings: -np.linalg.norm(embeddings.astype(np.float64) - point, axis=1))
