"""Comparison of two points: what they have in common, and which emotions the distance between them is made of."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mien.index.mixture.labelling import label_points
from mien.index.mixture.mixture import Mixture
from mien.index.mixture.sub_classes import SubClasses
from mien.model.emotions import EmotionPrior


@dataclass(frozen=True)
class Direction:
    """The part of an emotion in the step from one point to another.

    Attributes:
        emotion: its name.
        share: of the squared distance. Over all emotions these sum to the share that emotions explain; it is negative
            for one that points against the rest of the step.
        towards: whether the second point lies further towards the emotion than the first.
    """

    emotion: str
    share: float
    towards: bool


@dataclass(frozen=True)
class Comparison:
    """What two points have in common.

    Attributes:
        distance: Euclidean, embedding units.
        emotions: the emotion of each.
        sub_classes: the sub-class of each; None where there are none.
        posteriors: (2, c) float64.
        overlap: of their posteriors, 0 to 1: the sum over all emotions of the smaller of the two.
        directions: of the emotions, the largest share first. Their shares sum to at most 1; the rest of the distance
            is at right angles to all emotions.
    """

    distance: float
    emotions: tuple[str, str]
    sub_classes: tuple[str | None, str | None]
    posteriors: NDArray[np.float64]
    overlap: float
    directions: tuple[Direction, ...]


def compare_points(
    mixture: Mixture,
    sub_classes: SubClasses | None,
    first: NDArray[np.floating],
    second: NDArray[np.floating],
    prior: EmotionPrior = "uniform",
) -> Comparison:
    """Compare two points, (d,) each; their posteriors are those under ``prior``."""
    points = np.stack([first, second]).astype(np.float32)
    (first_emotion, first_sub_class), (second_emotion, second_sub_class) = label_points(mixture, sub_classes, points)
    posteriors = mixture.posterior(points, prior)
    step = points[1].astype(np.float64) - points[0]
    return Comparison(
        float(np.linalg.norm(step)),
        (first_emotion, second_emotion),
        (first_sub_class, second_sub_class),
        posteriors,
        float(posteriors.min(axis=0).sum()),
        directions(mixture.emotions, mixture.centroids, step),
    )


def directions(
    emotions: tuple[str, ...], centroids: NDArray[np.float64], step: NDArray[np.float64]
) -> tuple[Direction, ...]:
    """Split a step into parts that belong to emotions.

    The step is written as a combination of the vectors from the mean of all centroids to each of them (least squares
    with the smallest norm), and a rest at right angles to all of these. The share of an emotion is the projection of
    its part on the step.

    Args:
        emotions: (c,) names.
        centroids: (c, d).
        step: (d,) from one point to another.
    """
    length = float(step @ step)
    if length == 0:
        return tuple(Direction(emotion, 0.0, towards=False) for emotion in emotions)
    arms = centroids - centroids.mean(axis=0)  # (c, d)
    coefficients = np.linalg.pinv(arms.T) @ step  # (c,)
    shares = coefficients * (arms @ step) / length
    parts = [Direction(*each) for each in zip(emotions, shares.tolist(), (coefficients > 0).tolist(), strict=True)]
    return tuple(sorted(parts, key=lambda part: -part.share))
