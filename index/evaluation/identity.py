"""Identity leakage: how well an embedding of expressions tells people apart, which it should not.

Only pairs of faces with different labels are compared: a person's neutral face against the smiles of this person and of
all others. So the likeness of expressions counts neither for nor against.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mien.model.errors import DatasetError

MAX_FACES: Final = 4000
"""Of more faces so many are drawn: all pairs are compared, in memory."""


@dataclass(frozen=True)
class IdentityLeakage:
    """How well people are told apart, over pairs of faces with different labels; less is better.

    Attributes:
        auroc: probability that two faces of one person are nearer to one another than two faces of two people, from
            0 to 1; 0.5 is what chance gives.
        recall_at_1: share of the queries whose nearest face of another label is of the same person.
        chance_at_1: the same share if that face were drawn by chance.
        queries: faces whose person has a face of another label.
        people: that these faces show.
    """

    auroc: float
    recall_at_1: float
    chance_at_1: float
    queries: int
    people: int


def identity_leakage(
    embeddings: NDArray[np.floating], subjects: NDArray[np.integer], labels: NDArray[np.integer]
) -> IdentityLeakage:
    """Measure how well people are told apart.

    Args:
        embeddings: (n, d).
        subjects: (n,) a number for each person; people with one face are those that others can be mistaken for.
        labels: (n,) the expression of each face.

    Raises:
        DatasetError: nobody shows two expressions, or there is only one person.
    """
    if len(embeddings) > MAX_FACES:
        drawn = np.random.default_rng(0).choice(len(embeddings), MAX_FACES, replace=False)
        embeddings, subjects, labels = embeddings[drawn], subjects[drawn], labels[drawn]
    points = embeddings.astype(np.float64)
    squares = np.square(points).sum(axis=1)
    distances = np.sqrt(np.maximum(squares[:, None] + squares[None, :] - 2 * points @ points.T, 0))  # (n, n)
    same = subjects[:, None] == subjects[None, :]
    counts = labels[:, None] != labels[None, :]
    queries = np.flatnonzero((same & counts).any(axis=1))
    upper = np.triu(counts, k=1)
    if len(queries) == 0 or not (upper & ~same).any():
        raise DatasetError(
            f"identity must have two people and two expressions of one of them, got {len(np.unique(subjects))} people "
            f"in {len(points)} faces, of whom {len(np.unique(subjects[queries]))} show two expressions"
        )
    nearest = np.where(counts, distances, np.inf)[queries].argmin(axis=1)
    return IdentityLeakage(
        auroc=_smaller_among(distances[upper & same], distances[upper & ~same]),
        recall_at_1=float(same[queries, nearest].mean()),
        chance_at_1=float(((same & counts).sum(axis=1) / np.maximum(counts.sum(axis=1), 1))[queries].mean()),
        queries=len(queries),
        people=len(np.unique(subjects[queries])),
    )


def _smaller_among(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """Probability that a value of ``one`` is smaller than one of ``other``; equal values count one half."""
    ascending = np.sort(other)
    below, up_to = np.searchsorted(ascending, one, side="left"), np.searchsorted(ascending, one, side="right")
    return float(1 - (below + up_to).mean() / (2 * len(ascending)))
