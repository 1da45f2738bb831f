"""Adaptation of a mixture to a few labelled faces of another domain, and to emotions that it does not have.

The network stays as it is. A centroid moves to its posterior mean under a Gaussian prior around the old one,

    mu' = (kappa mu + sum of z) / (kappa + n),

so that kappa is the number of faces that the old centroid counts for; it is chosen by cross-validation. The other
parameters are shrunk towards the old ones likewise, which count for ``PRIOR_FACES`` faces.

Source of the estimate: Gelman et al.: *Bayesian Data Analysis*, 3rd edition, section 2.5 (a normal mean with known
variance).
"""

import math
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mien.index.evaluation.held_out import FOLDS, cross_fit, fold_numbers
from mien.index.mixture.calibration import fit_sigma
from mien.index.mixture.mixture import PRIOR_FACES, Calibration, Mixture
from mien.index.mixture.sub_classes import SubClass, SubClasses

STRENGTHS: Final = (0.3, 1.0, 3.0, 10.0, 30.0, 100.0, math.inf)
"""The values of kappa that are tried; at infinity, centroids stay."""

NEW_STRENGTH: Final = 1.0
"""The faces that the middle of all centroids counts for in the centroid of a new emotion.

Each error of a centroid makes it more distant from all faces, its own included; a centroid nearer to the middle makes
up for it (docs/adapt.md has the figures)."""


@dataclass(frozen=True)
class AdaptationFaces:
    """Embedded faces of one's own.

    Attributes:
        embeddings: (n, d) floating.
        labels: (n,) int64 indices into ``emotions``.
        groups: (n,) int64: faces of one person, or of one photograph, have the same number.
        emotions: (c',) names: those of the mixture, then new ones.
    """

    embeddings: NDArray[np.floating]
    labels: NDArray[np.int64]
    groups: NDArray[np.int64]
    emotions: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def counts(self) -> NDArray[np.int64]:
        """(c',) faces of each emotion."""
        return np.bincount(self.labels, minlength=len(self.emotions))

    def take(self, rows: NDArray[np.bool_]) -> "AdaptationFaces":
        """The faces of a mask."""
        return replace(self, embeddings=self.embeddings[rows], labels=self.labels[rows], groups=self.groups[rows])


@dataclass(frozen=True)
class Adaptation:
    """The result of an adaptation.

    Attributes:
        mixture: adapted.
        strength: kappa, how many faces an old centroid counts for.
        distances: (n, c') float64 of the faces to centroids that were fitted without them, with a kappa that was chosen
            without them: what they would get if they were new. Infinite for a new emotion that has no other faces.
        outlier_scores: (n,) float64, fitted likewise.
    """

    mixture: Mixture
    strength: float
    distances: NDArray[np.float64]
    outlier_scores: NDArray[np.float64]


def adapt_mixture(mixture: Mixture, faces: AdaptationFaces, gallery: NDArray[np.floating]) -> Adaptation:
    """Adapt a mixture.

    Args:
        mixture: of the bundle.
        faces: two or more groups.
        gallery: (m, d) embeddings of the bundle's gallery, by which the scale of typicality is followed.

    Raises:
        DatasetError: all faces belong to one group.
    """

    def fit_and_apply(others: NDArray[np.bool_], own: NDArray[np.bool_]) -> NDArray[np.float64]:
        known = faces.take(others)
        moved = move_components(mixture, known, choose_strength(mixture, known))
        points = faces.embeddings[own]
        distances = np.where(_is_fitted(mixture, known), moved.distances(points), np.inf)
        return np.column_stack([distances, moved.outlier_score(points)])

    held_out = cross_fit(_folds(faces), fit_and_apply)
    distances, outlier_scores = held_out[:, :-1], held_out[:, -1]
    strength = choose_strength(mixture, faces)
    moved = move_components(mixture, faces, strength)
    ratio = _sigma_ratio(mixture, distances, faces)
    adapted = replace(moved, sigma=mixture.sigma * ratio)
    if moved.calibration is not None:
        adapted = replace(
            adapted,
            calibration=replace(
                moved.calibration,
                votes_sigma=moved.calibration.votes_sigma * ratio,
                data_sigma=None if moved.calibration.data_sigma is None else moved.calibration.data_sigma * ratio,
                outlier_scores=_outlier_table(mixture, moved, moved.calibration, gallery, outlier_scores),
            ),
        )
    return Adaptation(adapted, strength, distances, outlier_scores)


def move_components(mixture: Mixture, faces: AdaptationFaces, strength: float) -> Mixture:
    """The mixture with centroids moved towards faces, and with a component for each new emotion that has faces.

    Args:
        mixture: c emotions.
        faces: of these and perhaps further emotions. Without a face, an old component stays; a new one lies in the
            middle of all centroids.
        strength: kappa.

    Returns:
        c' components. The covariance of a new emotion is the mean of all, scaled to the spread of its n faces, and to
        the share (n - 1) / (n + PRIOR_FACES) their own; larger by 1 / n, the error of their mean. Weights are posterior
        means under a Dirichlet prior around the old ones.
    """
    old, counts = len(mixture.emotions), faces.counts
    middle, pooled = mixture.centroids.mean(axis=0), mixture.covariances.mean(axis=0)
    new = len(faces.emotions) - old
    prior = np.concatenate([mixture.centroids, np.repeat(middle[None], new, axis=0)])
    kappa = np.concatenate([np.full(old, strength), np.full(new, NEW_STRENGTH)])
    means = np.stack([_mean(faces, label, prior[label]) for label in range(len(prior))])
    share = np.where(np.isinf(kappa), 0.0, counts / (counts + np.where(np.isinf(kappa), 1.0, kappa)))
    covariances = [*mixture.covariances]
    inverse = np.linalg.inv(pooled)
    for label in range(old, len(prior)):
        away = faces.embeddings[faces.labels == label].astype(np.float64) - means[label]
        freedom = max(int(counts[label]) - 1, 0)
        scale = np.einsum("nd,de,ne->", away, inverse, away) / (freedom * len(pooled)) if freedom else 1.0
        trust = freedom / (counts[label] + PRIOR_FACES)
        own = (1 - trust) * scale * pooled + trust * (away.T @ away) / max(freedom, 1)
        covariances.append((1 + 1 / max(counts[label], 1)) * own)
    weights = PRIOR_FACES * np.concatenate([mixture.weights, np.zeros(new)]) + counts
    return replace(
        mixture,
        emotions=faces.emotions,
        centroids=prior + share[:, None] * (means - prior),
        covariances=np.stack(covariances),
        weights=weights / weights.sum(),
    )


def choose_strength(mixture: Mixture, faces: AdaptationFaces) -> float:
    """The kappa of ``STRENGTHS`` with the least Brier score of faces that are left out in turn, averaged over emotions.

    Of equal scores the greatest kappa counts. Without two groups there is nothing to choose by: centroids stay.
    """
    if len(np.unique(faces.groups)) < 2:
        return math.inf
    folds, old = _folds(faces), len(mixture.emotions)
    known = faces.labels < old  # a new emotion does not depend on kappa
    if not known.any():
        return math.inf

    def score(strength: float) -> float:
        def fit_and_apply(others: NDArray[np.bool_], own: NDArray[np.bool_]) -> NDArray[np.float64]:
            moved = move_components(mixture, faces.take(others), strength)
            return replace(moved, emotions=mixture.emotions, centroids=moved.centroids[:old]).posterior(
                faces.embeddings[own]
            )

        posterior = cross_fit(folds, fit_and_apply)[known]
        labels = faces.labels[known]
        errors = np.square(posterior - np.eye(old)[labels]).sum(axis=1)
        return float(np.mean([errors[labels == label].mean() for label in np.unique(labels)]))

    return min(reversed(STRENGTHS), key=score)


def move_sub_classes(before: Mixture, after: Mixture, sub_classes: SubClasses) -> SubClasses:
    """Sub-classes moved as far as the centroid of their emotion, and one sub-class for each new emotion."""
    shift = dict(zip(before.emotions, after.centroids[: len(before.emotions)] - before.centroids, strict=True))
    moved = [replace(each, centroid=each.centroid + shift[each.emotion]) for each in sub_classes.each]
    no_votes = np.zeros(len(sub_classes.vote_columns))
    new = range(len(before.emotions), len(after.emotions))
    moved += [
        SubClass(
            f"{after.emotions[row]}/1",
            after.emotions[row],
            1.0,
            after.centroids[row],
            after.covariances[row],
            (),
            no_votes,
            no_votes,
        )
        for row in new
    ]
    return replace(
        sub_classes,
        emotions=after.emotions,
        each=tuple(moved),
        highest=(*sub_classes.highest, *(1 for _ in new)),
    )


def _mean(faces: AdaptationFaces, label: int, otherwise: NDArray[np.float64]) -> NDArray[np.float64]:
    own = faces.embeddings[faces.labels == label].astype(np.float64)
    return np.asarray(own.mean(axis=0)) if len(own) else otherwise


def _folds(faces: AdaptationFaces) -> NDArray[np.int64]:
    return fold_numbers(faces.groups, folds=min(FOLDS, len(np.unique(faces.groups))))


def _is_fitted(mixture: Mixture, faces: AdaptationFaces) -> NDArray[np.bool_]:
    """(c',) whether an emotion is an old one, or has faces."""
    return (np.arange(len(faces.emotions)) < len(mixture.emotions)) | (faces.counts > 0)


def _sigma_ratio(mixture: Mixture, distances: NDArray[np.float64], faces: AdaptationFaces) -> float:
    """The new sigma as a share of the old one: their logarithms are weighted by their numbers of faces."""
    own = np.isfinite(distances[np.arange(len(faces)), faces.labels])
    # The distance to an emotion without other faces is set far away, where it takes no part in the posterior.
    finite = np.where(np.isfinite(distances), distances, 1e3 * mixture.sigma)[own]
    if not own.any():
        return 1.0
    sigma = fit_sigma(finite, np.eye(len(faces.emotions))[faces.labels[own]], mixture.sigma)
    count = int(own.sum())
    return math.exp(math.log(sigma / mixture.sigma) * count / (count + PRIOR_FACES))


def _outlier_table(
    before: Mixture,
    after: Mixture,
    calibration: Calibration,
    gallery: NDArray[np.floating],
    own: NDArray[np.float64],
) -> NDArray[np.float64]:
    """The quantiles of the outlier score: of the faces of the calibration, and of one's own.

    The faces of the calibration are not in a bundle. Their quantiles are moved as those of the gallery's faces move.
    The table counts for ``PRIOR_FACES`` faces.
    """
    old = calibration.outlier_scores
    levels = [np.quantile(mixture.outlier_score(gallery), np.linspace(0, 1, len(old))) for mixture in (before, after)]
    moved = np.maximum.accumulate(old + levels[1] - levels[0])
    scores = np.concatenate([moved, own])
    weights = np.concatenate([np.full(len(moved), PRIOR_FACES / len(moved)), np.ones(len(own))])
    order = np.argsort(scores, kind="stable")
    ranks = np.cumsum(weights[order]) - weights[order] / 2
    expanded = np.interp(np.linspace(0, weights.sum(), len(old)), ranks, scores[order])
    return np.asarray(np.maximum.accumulate(expanded))
