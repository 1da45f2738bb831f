import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from mien.index.bundle.bundle import load_bundle
from mien.index.bundle.manifest import read_manifest
from mien.index.errors import BundleError
from mien.index.evaluation.held_out import (
    HeldOutFaces,
    cross_fitted_posterior,
    cross_fitted_typicality,
    cross_fitted_vote_shares,
)
from mien.index.fitting.calibrate import calibrate_bundle, distance_from_uniform
from mien.index.mixture.background import Background, fit_background
from mien.index.mixture.calibration import calibrate_mixture
from mien.index.mixture.mixture import Mixture, fit_mixture, posterior_from
from mien.model.datasets.ferplus import LabelledFaces, NearCopies
from mien.model.embedder.embedder import Embedder
from mien.model.emotions import EMOTIONS, UNLABELLED, labels
from mien.model.errors import DatasetError
from tests.support.faces import MakeFaces
from tests.support.small_run import SmallRun

NO_COPIES = NearCopies({}, frozenset())


def clouds(n: int, seed: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Eight overlapping Gaussian clouds whose posterior has a sigma of 1.25."""
    rng = np.random.default_rng(seed)
    emotions = rng.integers(0, 8, n)
    return (3 * np.eye(8)[emotions] + 1.25 * rng.normal(size=(n, 8))).astype(np.float32), emotions


@pytest.fixture(scope="module")
def mixture() -> Mixture:
    """With a sigma that is far too small."""
    return fit_mixture(*clouds(8000, 0), EMOTIONS, sigma=0.6)


@pytest.fixture(scope="module")
def background(mixture: Mixture) -> Background:
    points = np.random.default_rng(1).normal(1.0, 0.4, (500, 8))
    return fit_background(points, mixture.log_density(clouds(8000, 0)[0]))


@pytest.fixture(scope="module")
def faces() -> HeldOutFaces:
    """Half of the votes of each face are for its emotion, the rest are spread over all."""
    embeddings, emotions = clouds(3000, 2)
    votes = 0.5 * np.eye(8)[emotions] + 0.5 / 8
    return HeldOutFaces(embeddings, emotions, votes.astype(np.float32), np.arange(3000))


def calibrated(mixture: Mixture, background: Background, faces: HeldOutFaces) -> Mixture:
    return calibrate_mixture(mixture, background, faces.embeddings, faces.one_hot, faces.votes)


def test_sigma_is_found_for_labels_and_for_votes(mixture: Mixture, background: Background, faces: HeldOutFaces) -> None:
    fitted = calibrated(mixture, background, faces)
    assert fitted.sigma == pytest.approx(1.25, rel=0.05)
    assert fitted.votes_sigma > 1.5 * fitted.sigma
    assert fitted.trained_sigma == 0.6
    again = calibrated(fitted, background, faces)
    assert again.sigma == pytest.approx(fitted.sigma)
    assert again.trained_sigma == 0.6


def test_typicality_is_uniform_and_the_threshold_keeps_its_share(
    mixture: Mixture, background: Background, faces: HeldOutFaces
) -> None:
    fitted = calibrated(mixture, background, faces)
    typical = fitted.typicality(faces.embeddings)
    assert distance_from_uniform(typical) < 0.005
    assert (typical >= fitted.min_typicality).mean() == pytest.approx(0.95, abs=0.001)
    assert fitted.typicality(clouds(2000, 9)[0]).mean() == pytest.approx(0.5, abs=0.02)
    assert fitted.typicality(np.ones((1, 8)))[0] < 0.05


def test_cross_fitted_figures_use_other_folds(mixture: Mixture, background: Background, faces: HeldOutFaces) -> None:
    fitted = calibrated(mixture, background, faces)
    posterior = cross_fitted_posterior(fitted, faces)
    distances = fitted.distances(faces.embeddings)
    assert (posterior.argmax(axis=1) == distances.argmin(axis=1)).all()
    served = fitted.posterior(faces.embeddings)
    assert np.abs(posterior - served).max() < 0.05
    assert not np.allclose(posterior, served, atol=1e-9)
    # Each row is the posterior under one of five sigmas.
    sigmas = {
        round(float(np.sqrt((distances[row, 0] ** 2 - distances[row, 1] ** 2) / (2 * np.log(p[1] / p[0])))), 4)
        for row, p in enumerate(posterior[:200])
        if abs(distances[row, 0] - distances[row, 1]) > 1 and p[:2].min() > 1e-6
    }
    assert len(sigmas) <= 5
    under_data = cross_fitted_posterior(fitted, faces, "data")
    np.testing.assert_allclose(under_data, fitted.posterior(faces.embeddings, "data"), atol=0.05)
    assert np.abs(under_data - posterior).max() > 0.01
    shares = cross_fitted_vote_shares(fitted, faces)
    np.testing.assert_allclose(shares, fitted.vote_shares(faces.embeddings), atol=0.02)
    typical = cross_fitted_typicality(fitted, faces)
    assert distance_from_uniform(typical) < 0.02
    np.testing.assert_allclose(typical, fitted.typicality(faces.embeddings), atol=0.05)


def test_cross_fitted_typicality_of_an_outlier_is_0(
    mixture: Mixture, background: Background, faces: HeldOutFaces
) -> None:
    """As served, the face with the highest outlier score is at the end of the scale; cross-fitted, it is beyond it."""
    embeddings = faces.embeddings.copy()
    embeddings[:40] = 50
    strange = replace(faces, embeddings=embeddings, groups=np.where(np.arange(3000) < 40, -1, faces.groups))
    fitted = calibrated(mixture, background, strange)
    assert fitted.typicality(embeddings[:40]).max() < 0.02
    assert (cross_fitted_typicality(fitted, strange)[:40] == 0).all()


def test_distance_from_uniform_by_hand() -> None:
    assert distance_from_uniform(np.array([0.25, 0.75])) == pytest.approx(0.25)
    assert distance_from_uniform(np.array([0.9])) == pytest.approx(0.9)
    assert distance_from_uniform(np.array([0.0, 0.0])) == pytest.approx(1.0)


@pytest.fixture(scope="module")
def bundle_folder(small_run: SmallRun, make_faces: MakeFaces, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A calibrated bundle; do not write into it."""
    folder = Path(shutil.copytree(small_run.bundle, tmp_path_factory.mktemp("calibrated") / "bundle"))
    copies = NearCopies({}, frozenset({make_faces(80, seed=2).names[3]}))
    calibrate_bundle(
        folder, make_faces(320, seed=1), make_faces(80, seed=2), copies, "made faces", outliers_of_each_kind=40
    )
    return folder


def test_bundle_is_calibrated_in_place(small_run: SmallRun, make_faces: MakeFaces, bundle_folder: Path) -> None:
    before, after = load_bundle(small_run.bundle), load_bundle(bundle_folder)
    assert after.mixture.trained_sigma == before.mixture.sigma
    np.testing.assert_array_equal(after.mixture.centroids, before.mixture.centroids)
    np.testing.assert_array_equal(after.mixture.typical, before.mixture.typical)
    assert before.manifest.calibration is None
    report = after.manifest.calibration
    assert report is not None
    assert report["dataset"] == "made faces"
    assert report["near_copies_of_training_left_out"] == 1
    assert "objects" not in report["background"]["kinds"]
    assert report["sigma"]["labels"] == after.mixture.sigma
    assert report["posterior"]["trained_sigma"]["faces"] == report["faces"]
    assert json.loads(json.dumps(report, allow_nan=False)) == report
    assert not list(bundle_folder.parent.glob("*.partial"))

    faces = make_faces(80, seed=2)
    held_out = faces.take((labels(faces.votes) != UNLABELLED) & (np.arange(80) != 3))
    embeddings = Embedder(after.embedder_path, provider="cpu").embed(held_out.images)
    typical = after.mixture.typicality(embeddings)
    assert (typical >= after.mixture.min_typicality).mean() == pytest.approx(0.95, abs=0.02)
    expected = posterior_from(after.mixture.distances(embeddings), after.mixture.sigma)
    np.testing.assert_array_equal(after.mixture.posterior(embeddings), expected)


def test_calibrating_again_changes_nothing_but_the_scores(
    bundle_folder: Path, make_faces: MakeFaces, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(bundle_folder, tmp_path / "bundle"))
    manifest = read_manifest(folder)
    manifest_path = folder / "manifest.json"
    manifest_path.write_text(manifest.model_copy(update={"scores": {"of": "before"}}).model_dump_json())
    copies = NearCopies({}, frozenset({make_faces(80, seed=2).names[3]}))
    calibrate_bundle(
        folder, make_faces(320, seed=1), make_faces(80, seed=2), copies, "made faces", outliers_of_each_kind=40
    )
    again = read_manifest(folder)
    assert again.calibration == manifest.calibration
    assert again.scores is None
    before, after = load_bundle(bundle_folder).mixture, load_bundle(folder).mixture
    assert after.sigma == before.sigma
    assert after.calibration is not None
    assert before.calibration is not None
    np.testing.assert_array_equal(after.calibration.outlier_scores, before.calibration.outlier_scores)


def test_calibration_without_clear_faces_is_refused(small_run: SmallRun, make_faces: MakeFaces, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(small_run.bundle, tmp_path / "bundle"))
    undecided = LabelledFaces(("a.png",), np.zeros((1, 48, 48), np.uint8), np.ones((1, 10), np.int64))
    known = make_faces(40, seed=1)
    with pytest.raises(DatasetError, match="made faces must have a face with a strict majority"):
        calibrate_bundle(folder, known, undecided, NO_COPIES, "made faces", outliers_of_each_kind=40)
    with pytest.raises(DatasetError, match="training faces with a strict majority"):
        calibrate_bundle(folder, undecided, known, NO_COPIES, "made faces", outliers_of_each_kind=40)
    with pytest.raises(DatasetError, match="at least 5 faces"):
        calibrate_bundle(folder, known, make_faces(4, seed=2), NO_COPIES, "made faces", outliers_of_each_kind=40)
    assert load_bundle(folder).mixture.calibration is None
    with pytest.raises(BundleError, match="not a bundle"):
        calibrate_bundle(tmp_path, known, known, NO_COPIES, "made faces", outliers_of_each_kind=40)
