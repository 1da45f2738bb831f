"""``mixture.npz``: the Gaussians of the emotions and, once the bundle is calibrated, their calibration."""

from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mien.index.bundle.npz import check_ascending, check_covariances, check_sigma, check_weights, read_arrays
from mien.index.errors import BundleError
from mien.index.mixture.background import Background
from mien.index.mixture.mixture import Calibration, Mixture

# c emotions, d dimensions, q quantiles.
_MIXTURE: Final = {
    "emotions": "U c",
    "centroids": "f c d",
    "covariances": "f c d d",
    "weights": "f c",
    "sigma": "f",
    "typical": "f q",
}

CALIBRATION_ARRAYS: Final = {
    "trained_sigma": "f",
    "votes_sigma": "f",
    "background_centroid": "f d",
    "background_covariance": "f d d",
    "background_floor": "f",
    "strangeness": "f k",  # the outlier scores; the name is that of format 1
    "min_typicality": "f",
}
"""A calibrated mixture has all of these, another one none."""

_PRIOR_ARRAYS: Final = {"data_sigma": "f"}
"""Calibrations of before the prior could be chosen lack it."""


def write_mixture(path: Path, mixture: Mixture, embedder_sha256: str) -> None:
    """Write a mixture that was fitted on embeddings of the network with this digest."""
    arrays: dict[str, Any] = {
        "embedder_sha256": np.array(embedder_sha256),
        "emotions": np.array(mixture.emotions),
        "centroids": mixture.centroids,
        "covariances": mixture.covariances,
        "weights": mixture.weights,
        "sigma": np.array(mixture.sigma),
        "typical": mixture.typical,
    }
    if mixture.calibration is not None:
        arrays |= {
            "trained_sigma": np.array(mixture.calibration.trained_sigma),
            "votes_sigma": np.array(mixture.calibration.votes_sigma),
            "background_centroid": mixture.calibration.background.centroid,
            "background_covariance": mixture.calibration.background.covariance,
            "background_floor": np.array(mixture.calibration.background.floor),
            "strangeness": mixture.calibration.outlier_scores,
            "min_typicality": np.array(mixture.calibration.min_typicality),
        }
        if mixture.calibration.data_sigma is not None:
            arrays["data_sigma"] = np.array(mixture.calibration.data_sigma)
    np.savez_compressed(path, **arrays)


def read_mixture(path: Path, embedder_sha256: str) -> Mixture:
    """Read what ``write_mixture`` wrote.

    Args:
        path: the file.
        embedder_sha256: of the bundle's network.

    Raises:
        BundleError: the file is broken, or belongs to another network.
    """
    arrays = read_arrays(path, embedder_sha256, _MIXTURE, optional=(CALIBRATION_ARRAYS, _PRIOR_ARRAYS))
    check_sigma(path, arrays, "sigma")
    check_ascending(path, arrays, "typical")
    check_weights(path, arrays, "weights")
    check_covariances(path, arrays, "covariances")
    return Mixture(
        tuple(arrays["emotions"].tolist()),
        arrays["centroids"],
        arrays["covariances"],
        arrays["weights"],
        float(arrays["sigma"]),
        arrays["typical"],
        _calibration(path, arrays) if "trained_sigma" in arrays else None,
    )


def _calibration(path: Path, arrays: dict[str, NDArray[Any]]) -> Calibration:
    check_sigma(path, arrays, "trained_sigma")
    check_sigma(path, arrays, "votes_sigma")
    if "data_sigma" in arrays:
        check_sigma(path, arrays, "data_sigma")
    check_ascending(path, arrays, "strangeness")
    check_covariances(path, arrays, "background_covariance")
    if not 0 <= arrays["min_typicality"] <= 1:
        raise BundleError(f"{path}: min_typicality must be from 0 to 1, got {arrays['min_typicality']}")
    return Calibration(
        float(arrays["trained_sigma"]),
        float(arrays["votes_sigma"]),
        Background(arrays["background_centroid"], arrays["background_covariance"], float(arrays["background_floor"])),
        arrays["strangeness"],
        float(arrays["min_typicality"]),
        float(arrays["data_sigma"]) if "data_sigma" in arrays else None,
    )
