"""Identity leakage: how well embeddings tell people apart, which embeddings of expressions should not.

Only pairs of faces with different labels are compared, such as a person's neutral face with the smiles of this person
and of all others, so that the similarity of expressions does not count.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mien.index.evaluation.scores.rejection import auroc
from mien.model.errors import DatasetError

MAX_FACES: Final = 4000
"""Faces that are drawn from a larger set: all pairs are compared in memory."""


@dataclass(frozen=True)
class IdentityLeakage:
    """How well people are told apart, over pairs of faces with different labels; less is better.

    Attributes:
        auroc: probability that two faces of one person are nearer to each other than two faces of two people; 0.5 for
            embeddings that do not depend on the person.
        recall_at_1: share of the queries whose nearest face of another label is of the same person.
        chance_at_1: this share for a random face of another label.
        queries: how many faces have a face of the same person with another label.
        people: how many these are.
    """

    auroc: float
    recall_at_1: float
    chance_at_1: float
    queries: int
    people: int


def identity_leakage(
    embeddings: NDArray[np.floating], subjects: NDArray[np.integer], labels: NDArray[np.integer]
) -> IdentityLeakage:
    """Measure identity leakage.

    Args:
        embeddings: (n, d).
        subjects: (n,) the number of each face's person.
        labels: (n,) the expression of each face.

    Raises:
        DatasetError: no person shows two expressions, or there is only one person.
    """
    if len(embeddings) > MAX_FACES:
        drawn = np.random.default_rng(0).choice(len(embeddings), MAX_FACES, replace=False)
        embeddings, subjects, labels = embeddings[drawn], subjects[drawn], labels[drawn]
    points = embeddings.astype(np.float64)
    squares = np.square(points).sum(axis=1)
    distances = np.sqrt(np.maximum(squares[:, None] + squares[None, :] - 2 * points @ points.T, 0))  # (n, n)
    same = subjects[:, None] == subjects[None, :]
    comparable = labels[:, None] != labels[None, :]
    queries = np.flatnonzero((same & comparable).any(axis=1))
    upper = np.triu(comparable, k=1)
    if len(queries) == 0 or not (upper & ~same).any():
        raise DatasetError(
            f"identity leakage needs two people and two expressions of one of them, got {len(points)} faces of "
            f"{len(np.unique(subjects))} people, of whom {len(np.unique(subjects[queries]))} show two expressions"
        )
    nearest = np.where(comparable, distances, np.inf)[queries].argmin(axis=1)
    return IdentityLeakage(
        auroc=auroc(distances[upper & ~same], distances[upper & same]),
        recall_at_1=float(same[queries, nearest].mean()),
        chance_at_1=float(((same & comparable).sum(axis=1) / np.maximum(comparable.sum(axis=1), 1))[queries].mean()),
        queries=len(queries),
        people=len(np.unique(subjects[queries])),
    )
