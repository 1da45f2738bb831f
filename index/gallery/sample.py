"""A sample of a gallery: so many faces as can be looked at together."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Sample:
    """Some faces of a gallery, or all.

    Attributes:
        ids: (n,) of the faces.
        embeddings: (n, d) float32.
        emotions: (n,) the label of each or, without one, what the mixture named when it was added; None without both.
        faces: how many the gallery has; more than n where it was sampled.
    """

    ids: Sequence[str]
    embeddings: NDArray[np.float32]
    emotions: Sequence[str | None]
    faces: int


def drawn(keys: NDArray[np.int64], most: int) -> NDArray[np.int64]:
    """Which of n faces are in a sample: places, ascending.

    Each key is mixed into a number that looks random, and the lowest of these are drawn. So the sample is even whatever
    the keys mean, and while a gallery grows a face stays in it until another takes its place.

    Source of the mixing: Steele, Lea, Flood: *Fast Splittable Pseudorandom Number Generators*, 2014.

    Args:
        keys: (n,) one number for each face, such as its sequence number.
        most: faces of the sample.
    """
    if len(keys) <= most:
        return np.arange(len(keys), dtype=np.int64)
    mixed = keys.astype(np.uint64)
    with np.errstate(over="ignore"):
        mixed += np.uint64(0x9E3779B97F4A7C15)
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        mixed ^= mixed >> np.uint64(31)
    places = np.argpartition(mixed, most)[:most]
    return np.sort(places).astype(np.int64)
