"""What a bundle's mixture calls points of its space: the emotion, and the sub-class within it."""

import numpy as np
from numpy.typing import NDArray

from index.bundle import Bundle


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
    if bundle.subclasses is None:
        return [(emotion, None) for emotion in emotions]
    places, _ = bundle.subclasses.assign(embeddings, nearest)
    return [(emotion, bundle.subclasses.each[place].id) for emotion, place in zip(emotions, places, strict=True)]
