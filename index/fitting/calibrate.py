"""``mien calibrate``: fits the calibration of a bundle's mixture on validation faces, and reports what it is worth.

The background is fitted on distorted training faces, the rest on validation; see ``mien.index.mixture.calibration``.
The test of covered mouths and eyes is fitted as well (``mien.index.fitting.covering``).
"""

from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mien.index.bundle.bundle import check_fits, load_bundle, replace_covering, replace_mixture
from mien.index.bundle.manifest import EMBEDDER, Manifest
from mien.index.evaluation.held_out import (
    FOLDS,
    HeldOutFaces,
    cross_fitted_posterior,
    cross_fitted_typicality,
    cross_fitted_vote_shares,
    held_out_faces,
)
from mien.index.evaluation.outliers import COUNT, seen_outliers
from mien.index.evaluation.scores.calibration import calibration_scores, score_vote_shares
from mien.index.fitting.covering import fit_covering
from mien.index.mixture.background import fit_background
from mien.index.mixture.calibration import calibrate_mixture
from mien.index.mixture.mixture import Mixture
from mien.model.datasets.ferplus import LabelledFaces, NearCopies
from mien.model.embedder.embedder import Embedder
from mien.model.emotions import UNLABELLED, EmotionPrior, labels
from mien.model.errors import DatasetError

BACKGROUND_SEED: Final = 1
"""Seed of the outliers that the background is fitted on; an evaluation draws others."""


_POSTERIORS: Final[dict[str, EmotionPrior]] = {"posterior": "uniform", "posterior_data_prior": "data"}
"""Key in the report to the prior."""


def calibrate_bundle(
    folder: Path,
    training: LabelledFaces,
    validation: LabelledFaces,
    near_copies: NearCopies,
    dataset: str,
    *,
    outliers_of_each_kind: int = COUNT,
    threads: int = 0,
    on_progress: Callable[[int, int], None] = lambda _, __: None,
) -> Manifest:
    """Calibrate a bundle in place.

    Args:
        folder: of the bundle; a calibration that it has is replaced.
        training: the faces that outliers for the background are made from, FER+ Training.
        validation: the faces to calibrate on, FER+ validation; those with a near copy in Training and those without a
            strict majority of votes are left out.
        near_copies: of both.
        dataset: the name of ``validation``, for the manifest.
        outliers_of_each_kind: how many the background is fitted on; also the drawn coverings of each kind.
        threads: of ONNX Runtime; 0 leaves the choice to it.
        on_progress: called with the number of pictures embedded and their total.

    Raises:
        BundleError: the folder is no bundle, or its parts do not belong together.
        DatasetError: there are too few faces with a strict majority.
    """
    bundle = load_bundle(folder)
    embedder = Embedder(folder / EMBEDDER, threads=threads)
    check_fits(bundle, embedder)
    training, validation = training.of(bundle.mixture.emotions), validation.of(bundle.mixture.emotions)
    clear_training = training.take(labels(training.votes) != UNLABELLED)
    if len(clear_training) == 0:
        raise DatasetError("calibration needs training faces with a strict majority of votes, got none")
    kept = near_copies.without_leaks(validation)
    clear = kept.take(labels(kept.votes) != UNLABELLED)
    if len(clear) == 0:
        raise DatasetError(f"{dataset} must have a face with a strict majority of votes, got none")

    outliers = seen_outliers(clear_training.images, BACKGROUND_SEED, count=outliers_of_each_kind)
    crops = np.concatenate([each.crops for each in outliers] + [clear.images])
    embeddings = embedder.embed(crops, on_progress)
    outlier_embeddings = embeddings[: -len(clear)]
    faces = held_out_faces(clear, embeddings[-len(clear) :], near_copies)

    background = fit_background(outlier_embeddings, bundle.mixture.log_density(bundle.gallery.embeddings))
    mixture = calibrate_mixture(bundle.mixture, background, faces.embeddings, faces.one_hot, faces.votes)
    covering = fit_covering(embedder, clear_training.images, clear.images, count=outliers_of_each_kind)
    report = {
        "dataset": dataset,
        "faces": len(clear),
        "near_copies_of_training_left_out": len(validation) - len(kept),
        "background": {
            "pictures": len(outlier_embeddings),
            "kinds": [each.kind for each in outliers],
            "made_from": "training faces",
        },
        **_report(mixture, faces),
    }
    replace_mixture(folder, mixture, report)
    return replace_covering(folder, covering)


def distance_from_uniform(typicality: NDArray[np.floating]) -> float:
    """How far the distribution of (n,) typicality is from uniform: Kolmogorov's distance, from 0 to 1."""
    from scipy.stats import kstest

    return float(kstest(typicality, "uniform").statistic)


def _report(mixture: Mixture, faces: HeldOutFaces) -> dict[str, Any]:
    def scores(posterior: NDArray[np.float64]) -> dict[str, Any]:
        figures = asdict(calibration_scores(posterior, faces.labels, faces.votes))
        return {name: value for name, value in figures.items() if name != "bins"}

    cross_fitted, served = cross_fitted_typicality(mixture, faces), mixture.typicality(faces.embeddings)
    trained = replace(mixture, sigma=mixture.trained_sigma, calibration=None)
    return {
        "sigma": {
            "trained": mixture.trained_sigma,
            "labels": mixture.sigma,
            "labels_data_prior": mixture.sigma_under("data"),
            "votes": mixture.votes_sigma,
        },
        **{
            name: {
                "trained_sigma": scores(trained.posterior(faces.embeddings, prior)),
                "cross_fitted": scores(cross_fitted_posterior(mixture, faces, prior)),
                "as_served": scores(mixture.posterior(faces.embeddings, prior)),
            }
            for name, prior in _POSTERIORS.items()
        },
        "vote_shares": {
            "trained_sigma": score_vote_shares(trained.vote_shares(faces.embeddings), faces.votes)[0],
            "cross_fitted": score_vote_shares(cross_fitted_vote_shares(mixture, faces), faces.votes)[0],
            "as_served": score_vote_shares(mixture.vote_shares(faces.embeddings), faces.votes)[0],
        },
        "typicality": {
            "folds": FOLDS,
            "threshold": mixture.min_typicality,
            "kept": float((served >= mixture.min_typicality).mean()),
            "kept_cross_fitted": float((cross_fitted >= mixture.min_typicality).mean()),
            "distance_from_uniform": {
                "on_the_scale_of_training": distance_from_uniform(trained.typicality(faces.embeddings)),
                "cross_fitted": distance_from_uniform(cross_fitted),
            },
        },
    }
