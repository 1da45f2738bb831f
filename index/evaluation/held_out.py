"""Faces that nothing was fitted on, and cross-fitting where there is one set of faces to fit and to score on.

A bundle is calibrated on FER+ validation and scored on it. Cross-fitting keeps the two apart: the faces are split into
parts, and what each face is given comes from a calibration on the other parts.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mien.index.mixture.calibration import fit_sigma
from mien.index.mixture.mixture import Mixture, posterior_from, quantile_table, typicality_from
from mien.model.datasets.ferplus import LabelledFaces, NearCopies
from mien.model.emotions import EmotionPrior, distribution, labels
from mien.model.errors import DatasetError

FOLDS: Final = 5
"""Parts that the faces are split into."""


@dataclass(frozen=True)
class HeldOutFaces:
    """Embedded faces with a strict majority of votes.

    Attributes:
        embeddings: (n, d) float32.
        labels: (n,) int64 indices into the c emotions.
        votes: (n, c) float32, the share of each emotion among the votes.
        groups: (n,) int64, of near copies.
    """

    embeddings: NDArray[np.float32]
    labels: NDArray[np.int64]
    votes: NDArray[np.float32]
    groups: NDArray[np.int64]

    @property
    def one_hot(self) -> NDArray[np.float32]:
        """(n, c) the labels as distributions."""
        return np.eye(self.votes.shape[1], dtype=np.float32)[self.labels]


def held_out_faces(faces: LabelledFaces, embeddings: NDArray[np.float32], near_copies: NearCopies) -> HeldOutFaces:
    """Held-out faces from n faces, each with a strict majority of votes, and their (n, d) embeddings."""
    return HeldOutFaces(embeddings, labels(faces.votes), distribution(faces.votes), near_copies.groups_of(faces.names))


def fold_numbers(groups: NDArray[np.integer], *, folds: int = FOLDS, seed: int = 0) -> NDArray[np.int64]:
    """Split faces into parts of about the same size, near copies into the same one.

    Args:
        groups: (n,) the group of near copies of each face.
        folds: how many parts.
        seed: decides the part of each face.

    Returns:
        (n,) int64 from 0 to ``folds`` - 1.

    Raises:
        DatasetError: there are fewer groups than parts.
    """
    numbers, group_of = np.unique(groups, return_inverse=True)
    if len(numbers) < folds:
        raise DatasetError(f"cross-fitting needs at least {folds} faces that are no near copies, got {len(numbers)}")
    fold_of_group = np.random.default_rng(seed).permutation(len(numbers)) % folds
    return fold_of_group[group_of]


def cross_fit(
    folds: NDArray[np.int64],
    fit_and_apply: Callable[[NDArray[np.bool_], NDArray[np.bool_]], NDArray[np.float64]],
) -> NDArray[np.float64]:
    """Fit on the faces of all parts but one, and apply the fit to that one, for each part in turn.

    Args:
        folds: (n,) the part of each face.
        fit_and_apply: called with the (n,) masks of the faces to fit on and of those to apply the fit to; returns a
            row for each of the latter.

    Returns:
        (n, ...) the rows of all faces.
    """
    rows: list[NDArray[np.float64]] = []
    places: list[NDArray[np.int64]] = []
    for fold in np.unique(folds):
        own = folds == fold
        rows.append(fit_and_apply(~own, own))
        places.append(np.flatnonzero(own))
    return np.concatenate(rows)[np.argsort(np.concatenate(places))]


def cross_fitted_posterior(
    mixture: Mixture, faces: HeldOutFaces, prior: EmotionPrior = "uniform"
) -> NDArray[np.float64]:
    """(n, c) posteriors of the faces that the mixture is calibrated on, with sigma from the other parts."""
    return _cross_fitted(mixture, faces, faces.one_hot, prior)


def cross_fitted_vote_shares(mixture: Mixture, faces: HeldOutFaces) -> NDArray[np.float64]:
    """(n, c) expected votes for the faces that the mixture is calibrated on, with sigma from the other parts."""
    return _cross_fitted(mixture, faces, faces.votes, "uniform")


def cross_fitted_typicality(mixture: Mixture, faces: HeldOutFaces) -> NDArray[np.float64]:
    """(n,) typicality of the faces that the mixture is calibrated on, from outlier scores of the other parts."""
    scores = mixture.outlier_score(faces.embeddings)
    return cross_fit(
        fold_numbers(faces.groups),
        lambda others, own: typicality_from(scores[own], quantile_table(scores[others])),
    )


def _cross_fitted(
    mixture: Mixture, faces: HeldOutFaces, targets: NDArray[np.float32], prior: EmotionPrior
) -> NDArray[np.float64]:
    distances, weights = mixture.distances(faces.embeddings), mixture.prior_weights(prior)

    def fit_and_apply(others: NDArray[np.bool_], own: NDArray[np.bool_]) -> NDArray[np.float64]:
        sigma = fit_sigma(distances[others], targets[others], mixture.trained_sigma, weights)
        return posterior_from(distances[own], sigma, weights)

    return cross_fit(fold_numbers(faces.groups), fit_and_apply)
