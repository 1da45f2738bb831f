"""What a bundle's mixture calls points of its space: the emotion, and the sub-class within it."""

import numpy as np
from numpy.typing import NDArray

from mien.index.bundle.bundle import Bundle


def named(bundle: Bundle, embeddings: NDArray[np.float32]) -> list[tuple[str, str | None]]:
    """The emotion of each point, and its sub-class where the bundle has them.

    Args:
        bundle: whose mixture names them.
        embeddings: (n, d).
    """
    if len(embeddings) == 0:
        return []
    nearest = bundle.mixture.distances(embeddings).argmin(axis=1)
    emotions = [bundle.mixture.emotions[each] for each in nearest]
    return list(zip(emotions, sub_classes(bundle, embeddings, nearest), strict=True))


def sub_classes(bundle: Bundle, embeddings: NDArray[np.float32], nearest: NDArray[np.integer]) -> list[str | None]:
    """The sub-class of each point within its emotion; None where the bundle has none.

    Args:
        bundle: whose sub-classes they are.
        embeddings: (n, d).
        nearest: (n,) the emotion of each point, by its place among the mixture's.
    """
    if bundle.subclasses is None:
        return [None] * len(embeddings)
    places, _ = bundle.subclasses.assign(embeddings, nearest)
    return [bundle.subclasses.each[place].id for place in places]
