"""Likeness: what two points of the space share, and what the distance that is left between them is made of."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mien.index.bundle.bundle import Bundle
from mien.index.mixture.labelling import named


@dataclass(frozen=True)
class Direction:
    """The part that an emotion has in the way from one point to another.

    Attributes:
        emotion: it leads to, or away from.
        share: of the squared distance. Over all emotions these sum to the share that emotions explain; one that leads
            against the rest of the way is negative.
        towards: whether the second point lies further towards the emotion than the first.
    """

    emotion: str
    share: float
    towards: bool


@dataclass(frozen=True)
class Likeness:
    """What two points share.

    Attributes:
        distance: Euclidean, embedding units.
        emotions: the emotion of each.
        sub_classes: the sub-class of each; None where the bundle has none.
        posteriors: (2, c) float64, how probable each emotion is at each.
        overlap: of their posteriors, 0 to 1: the sum of the smaller of the two over all emotions.
        directions: of the emotions, the largest share first; the sum of their shares is at most 1, and the rest of the
            way lies across all emotions.
    """

    distance: float
    emotions: tuple[str, str]
    sub_classes: tuple[str | None, str | None]
    posteriors: NDArray[np.float64]
    overlap: float
    directions: tuple[Direction, ...]


def likeness(bundle: Bundle, first: NDArray[np.floating], second: NDArray[np.floating]) -> Likeness:
    """Compare two points, (d,) each, of a bundle's space."""
    points = np.stack([first, second]).astype(np.float32)
    names = named(bundle, points)
    posteriors = bundle.mixture.posterior(points)
    way = points[1].astype(np.float64) - points[0]
    return Likeness(
        float(np.linalg.norm(way)),
        (names[0][0], names[1][0]),
        (names[0][1], names[1][1]),
        posteriors,
        float(posteriors.min(axis=0).sum()),
        directions(bundle.mixture.emotions, bundle.mixture.centroids, way),
    )


def directions(
    emotions: tuple[str, ...], centroids: NDArray[np.float64], way: NDArray[np.float64]
) -> tuple[Direction, ...]:
    """What a way is made of, in terms of the emotions.

    The way is written as the shortest sum of steps from the middle of all centroids to each of them, and what is left
    over, which is at right angles to all of these. The part of a step is its projection on the way.

    Args:
        emotions: (c,) names.
        centroids: (c, d).
        way: (d,) from one point to another.
    """
    length = float(way @ way)
    if length == 0:
        return tuple(Direction(emotion, 0.0, towards=False) for emotion in emotions)
    arms = centroids - centroids.mean(axis=0)  # (c, d)
    steps = np.linalg.pinv(arms.T) @ way  # (c,), the least norm of those that fit best
    shares = steps * (arms @ way) / length
    found = [Direction(*each) for each in zip(emotions, shares.tolist(), (steps > 0).tolist(), strict=True)]
    return tuple(sorted(found, key=lambda each: -each.share))
