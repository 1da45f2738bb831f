"""Calibrating: what a bundle says of itself, brought to the scale of faces that its network has not seen.

Centroids and covariances stay as they were fitted on Training. On validation faces are fitted: one sigma, so that
posteriors can be believed; another, so that they follow the split of the votes; and the distribution of strangeness,
so that typicality is uniform over faces. The background is fitted on distorted faces of Training.
"""

from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mien.index.bundle.bundle import check_fits, load_bundle, replace_mixture
from mien.index.bundle.manifest import EMBEDDER, Manifest
from mien.index.evaluation.calibration import brier_score, calibration_scores, kl_divergence
from mien.index.evaluation.held_out import HeldOutFaces
from mien.index.evaluation.outliers import COUNT, rehearsed
from mien.index.evaluation.rejection import threshold_keeping
from mien.index.fitting.cross_fitting import FOLDS, cross_fitted, folds_of
from mien.index.fitting.sigma import fit_sigma, scaled_posterior
from mien.index.mixture.background import Background, fit_background
from mien.index.mixture.mixture import KEEP_SHARE, Calibration, Mixture, quantile_table, typicality_from
from mien.model.datasets.ferplus import LabelledFaces, NearCopies
from mien.model.embedder.embedder import Embedder
from mien.model.emotions import UNLABELLED, distribution, labels
from mien.model.errors import DatasetError

BACKGROUND_SEED: Final = 1
"""Not the seed of an evaluation, which measures on other noise."""


def calibrate_bundle(
    folder: Path,
    training: LabelledFaces,
    validation: LabelledFaces,
    near_copies: NearCopies,
    dataset: str,
    *,
    pictures_of_each_kind: int = COUNT,
    threads: int = 0,
    on_progress: Callable[[int, int], None] = lambda _, __: None,
) -> Manifest:
    """Calibrate a bundle in place.

    Args:
        folder: of the bundle; a calibration that it has is replaced.
        training: the faces that the background's pictures are made from, FER+ Training.
        validation: the faces that it is calibrated on, FER+ validation; those with a near copy in Training are left
            out, and those without a strict majority.
        near_copies: which those are.
        dataset: the name of ``validation``, for the manifest.
        pictures_of_each_kind: how many the background is fitted on.
        threads: of ONNX Runtime; 0 leaves the choice to it.
        on_progress: called with the number of pictures embedded and their total.

    Raises:
        BundleError: the folder is no bundle, or its parts do not belong together.
        DatasetError: there are too few faces with a strict majority.
    """
    bundle = load_bundle(folder)
    embedder = Embedder(folder / EMBEDDER, threads=threads)
    check_fits(bundle, embedder)
    known = training.take(labels(training.votes) != UNLABELLED)
    if len(known) == 0:
        raise DatasetError("calibrating wants training faces with a strict majority of votes, got none")
    kept = near_copies.without_leaks(validation)
    clear = kept.take(labels(kept.votes) != UNLABELLED)
    if len(clear) == 0:
        raise DatasetError(f"{dataset} has no face with a strict majority of votes")

    pictures = rehearsed(known.images, BACKGROUND_SEED, count=pictures_of_each_kind)
    crops = np.concatenate([each.crops for each in pictures] + [clear.images])
    embeddings = embedder.embed(crops, on_progress)
    distorted, seen = embeddings[: -len(clear)], embeddings[-len(clear) :]
    faces = HeldOutFaces(seen, labels(clear.votes), distribution(clear.votes), near_copies.groups_of(clear.names))

    background = fit_background(distorted, bundle.mixture.log_density(bundle.gallery.embeddings))
    mixture = calibrated(bundle.mixture, background, faces)
    report = {
        "dataset": dataset,
        "faces": len(clear),
        "near_copies_of_training_left_out": len(validation) - len(kept),
        "background": {
            "pictures": len(distorted),
            "kinds": [each.kind for each in pictures],
            "made_from": "FER+ Training",
        },
        **_report(mixture, faces),
    }
    return replace_mixture(folder, mixture, report)


def calibrated(mixture: Mixture, background: Background, faces: HeldOutFaces) -> Mixture:
    """The mixture, calibrated on held-out faces.

    Args:
        mixture: fitted on Training; of a calibration that it has, nothing but the trained sigma is kept.
        background: of pictures without an expression.
        faces: that neither the network nor the mixture was fitted on.
    """
    distances = mixture.distances(faces.embeddings)
    trained = mixture.trained_sigma
    strange = background.log_density(faces.embeddings) - mixture.log_density(faces.embeddings)
    table = quantile_table(strange)
    return replace(
        mixture,
        sigma=fit_sigma(distances, faces.one_hot, trained),
        calibration=Calibration(
            trained_sigma=trained,
            votes_sigma=fit_sigma(distances, faces.votes, trained),
            background=background,
            strangeness=table,
            min_typicality=threshold_keeping(typicality_from(strange, table), KEEP_SHARE),
        ),
    )


def cross_fitted_posterior(mixture: Mixture, faces: HeldOutFaces) -> NDArray[np.float64]:
    """(n, c) posteriors of faces that the mixture is calibrated on, each under a sigma fitted on other folds."""
    return _cross_fitted(mixture, faces, faces.one_hot)


def cross_fitted_vote_shares(mixture: Mixture, faces: HeldOutFaces) -> NDArray[np.float64]:
    """(n, c) expected split of the votes for faces that the mixture is calibrated on, sigma from other folds."""
    return _cross_fitted(mixture, faces, faces.votes)


def cross_fitted_typicality(mixture: Mixture, faces: HeldOutFaces) -> NDArray[np.float64]:
    """(n,) typicality of faces that the mixture is calibrated on, each by the strangeness of other folds' faces."""
    strange = mixture.strangeness(faces.embeddings)
    return cross_fitted(
        folds_of(faces.groups),
        lambda others, own: typicality_from(strange[own], quantile_table(strange[others])),
    )


def distance_from_uniform(typicality: NDArray[np.floating]) -> float:
    """How far the distribution of (n,) typicality is from uniform: Kolmogorov's distance, from 0 to 1."""
    ascending = np.sort(typicality)
    steps = np.arange(len(ascending) + 1) / len(ascending)
    return float(max((steps[1:] - ascending).max(), (ascending - steps[:-1]).max()))


def _cross_fitted(mixture: Mixture, faces: HeldOutFaces, targets: NDArray[np.float32]) -> NDArray[np.float64]:
    distances, start = mixture.distances(faces.embeddings), mixture.trained_sigma
    return cross_fitted(
        folds_of(faces.groups), lambda others, own: scaled_posterior(distances, targets, start, others, own)
    )


def _report(mixture: Mixture, faces: HeldOutFaces) -> dict[str, Any]:
    def scores(posterior: NDArray[np.float64]) -> dict[str, Any]:
        every = asdict(calibration_scores(posterior, faces.labels, faces.votes))
        return {name: value for name, value in every.items() if name != "bins"}

    def agreement(shares: NDArray[np.float64]) -> dict[str, float]:
        return {
            "brier_score": brier_score(shares, faces.votes),
            "kl_divergence": kl_divergence(shares, faces.votes),
        }

    typical, fitted_typical = cross_fitted_typicality(mixture, faces), mixture.typicality(faces.embeddings)
    trained = replace(mixture, sigma=mixture.trained_sigma, calibration=None)
    return {
        "sigma": {"trained": mixture.trained_sigma, "labels": mixture.sigma, "votes": mixture.votes_sigma},
        "posterior": {
            "trained_sigma": scores(trained.posterior(faces.embeddings)),
            "cross_fitted": scores(cross_fitted_posterior(mixture, faces)),
            "as_served": scores(mixture.posterior(faces.embeddings)),
        },
        "vote_shares": {
            "trained_sigma": agreement(trained.vote_shares(faces.embeddings)),
            "cross_fitted": agreement(cross_fitted_vote_shares(mixture, faces)),
            "as_served": agreement(mixture.vote_shares(faces.embeddings)),
        },
        "typicality": {
            "folds": FOLDS,
            "threshold": mixture.min_typicality,
            "kept": float((fitted_typical >= mixture.min_typicality).mean()),
            "kept_cross_fitted": float((typical >= mixture.min_typicality).mean()),
            "distance_from_uniform": {
                "on_the_scale_of_training": distance_from_uniform(trained.typicality(faces.embeddings)),
                "cross_fitted": distance_from_uniform(typical),
            },
        },
    }
