"""Labels of points: the emotion of each, and its sub-class within that emotion."""

import numpy as np
from numpy.typing import NDArray

from mien.index.mixture.mixture import Mixture
from mien.index.mixture.sub_classes import SubClasses


def label_points(
    mixture: Mixture, sub_classes: SubClasses | None, embeddings: NDArray[np.float32]
) -> list[tuple[str, str | None]]:
    """The emotion of each of (n, d) embeddings, and the id of its sub-class; None where there are no sub-classes."""
    if len(embeddings) == 0:
        return []
    nearest = mixture.distances(embeddings).argmin(axis=1)
    emotions = [mixture.emotions[label] for label in nearest]
    return list(zip(emotions, sub_class_ids(sub_classes, embeddings, nearest), strict=True))


def sub_class_ids(
    sub_classes: SubClasses | None, embeddings: NDArray[np.float32], labels: NDArray[np.integer]
) -> list[str | None]:
    """The id of each point's most probable sub-class within its emotion; None where there are no sub-classes.

    Args:
        sub_classes: of the bundle.
        embeddings: (n, d).
        labels: (n,) indices into the emotions.
    """
    if sub_classes is None:
        return [None] * len(embeddings)
    rows, _ = sub_classes.assign(embeddings, labels)
    return [sub_classes.each[row].id for row in rows]
