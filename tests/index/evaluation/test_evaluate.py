import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mien.index.bundle.bundle import load_bundle, record_scores
from mien.index.bundle.manifest import read_manifest
from mien.index.evaluation.evaluate import evaluate, save_plots, save_scores
from mien.index.evaluation.summary import headline
from mien.index.fitting.calibrate import calibrate_bundle
from mien.model.datasets.ferplus import LabelledFaces, NearCopies
from mien.model.embedder.embedder import Embedder
from mien.model.emotions import UNLABELLED, labels
from mien.model.errors import DatasetError
from tests.support.faces import MakeFaces
from tests.support.small_run import SmallRun

FEW = 30


def test_scores_are_those_of_the_served_objects(small_run: SmallRun, make_faces: MakeFaces, tmp_path: Path) -> None:
    bundle = load_bundle(small_run.bundle)
    embedder = Embedder(bundle.embedder_path, provider="cpu")
    faces = make_faces(80, seed=2)
    leak = faces.names[0]
    near_copies = NearCopies({}, frozenset({leak}))
    scores, embeddings, face_labels = evaluate(
        bundle, embedder, faces, near_copies, "made faces", outliers_of_each_kind=FEW
    )

    majority = labels(faces.votes)
    rows = np.flatnonzero(majority != UNLABELLED)[1:]  # the first is the leak
    np.testing.assert_allclose(embeddings, embedder.embed(faces.images[rows]), atol=1e-4)
    assert (face_labels == majority[rows]).all()
    assert scores["near_copies_of_training_left_out"] == 1
    nearest = bundle.mixture.distances(embeddings).argmin(axis=1)
    accuracy = scores["majority"]["nearest_centroid"]["accuracy"]
    assert accuracy == pytest.approx((nearest == face_labels).mean())
    assert accuracy > 0.5  # the patterns are easy, and the network was trained on them

    matches = bundle.gallery.search(embeddings, 11)
    voted = [max(names := [match.entry.emotion for match in found], key=names.count) for found in matches]
    expected = np.mean([name == bundle.mixture.emotions[label] for name, label in zip(voted, face_labels, strict=True)])
    assert scores["majority"]["nearest_neighbours"]["accuracy"] == pytest.approx(expected)

    assert json.loads(save_scores(tmp_path / "out", scores).read_text()) == scores
    save_plots(tmp_path / "out", bundle, scores, embeddings, face_labels)
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "scores.json",
        "confusion.png",
        "reliability.png",
        "map.png",
    }
    for figure in headline(scores):
        assert np.isfinite(figure.value)
        if figure.interval and figure.name != "calibration error, as served":
            assert figure.interval.low - 1e-9 <= figure.value <= figure.interval.high + 1e-9, figure

    copy = Path(shutil.copytree(small_run.bundle, tmp_path / "bundle"))
    record_scores(copy, scores)
    assert read_manifest(copy).scores == scores
    load_bundle(copy)


def test_leave_one_out_leaves_out_the_query_and_its_copies(small_run: SmallRun, make_faces: MakeFaces) -> None:
    """Two faces of each emotion, each pair near copies: nothing relevant is left to find."""
    bundle = load_bundle(small_run.bundle)
    faces = make_faces(16, seed=3)
    clear = faces.take(labels(faces.votes) != UNLABELLED)
    group = {name: int(label) for name, label in zip(clear.names, labels(clear.votes), strict=True)}
    group |= {f"{entry.id}.png": 100 + row for row, entry in enumerate(bundle.gallery.entries)}
    with pytest.raises(DatasetError, match="relevant gallery face"):
        evaluate(
            bundle,
            Embedder(bundle.embedder_path),
            clear,
            NearCopies(group, frozenset()),
            "pairs",
            outliers_of_each_kind=FEW,
        )


def test_faces_without_a_majority_cannot_be_scored(small_run: SmallRun) -> None:
    bundle = load_bundle(small_run.bundle)
    undecided = LabelledFaces(("a.png",), np.zeros((1, 48, 48), np.uint8), np.ones((1, 10), np.int64))
    with pytest.raises(DatasetError, match="must have a face with a strict majority of votes, got none"):
        evaluate(bundle, Embedder(bundle.embedder_path), undecided, NearCopies({}, frozenset()), "undecided")


def test_figures_on_the_faces_of_the_calibration_are_also_cross_fitted(
    small_run: SmallRun, make_faces: MakeFaces, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(small_run.bundle, tmp_path / "bundle"))
    faces, copies = make_faces(80, seed=2), NearCopies({}, frozenset())
    calibrate_bundle(folder, make_faces(160, seed=1), faces, copies, "made faces", outliers_of_each_kind=40)
    bundle = load_bundle(folder)
    assert bundle.manifest.calibration is not None
    embedder = Embedder(bundle.embedder_path, provider="cpu")
    scores, embeddings, face_labels = evaluate(bundle, embedder, faces, copies, "made faces", outliers_of_each_kind=FEW)
    clear, reported = scores["majority"], bundle.manifest.calibration
    assert scores["calibrated_on"] == "made faces"
    for name, prior, stage in (
        ("calibration", "posterior", "as_served"),
        ("calibration_cross_fitted", "posterior", "cross_fitted"),
        ("calibration_trained_sigma", "posterior", "trained_sigma"),
        ("calibration_data_prior", "posterior_data_prior", "as_served"),
        ("calibration_data_prior_cross_fitted", "posterior_data_prior", "cross_fitted"),
    ):
        expected = reported[prior][stage]["negative_log_likelihood"]
        assert clear[name]["negative_log_likelihood"] == pytest.approx(expected, abs=1e-4), name
    expected = reported["vote_shares"]["cross_fitted"]["kl_divergence"]
    assert clear["vote_shares_cross_fitted"]["kl_divergence"] == pytest.approx(expected, abs=1e-4)
    kept = bundle.mixture.typicality(embeddings) >= bundle.mixture.min_typicality
    assert scores["rejection"]["threshold"] == bundle.mixture.min_typicality
    assert scores["rejection"]["faces_kept"] == pytest.approx(kept.mean())
    happy = kept[face_labels == 1].mean()
    assert scores["rejection"]["faces_kept_per_emotion"]["happiness"] == pytest.approx(happy)
    assert "faces_kept_cross_fitted" in scores["rejection"]
    assert scores["rejection"]["kinds"]["objects"]["seen"] is False
    assert scores["rejection"]["kinds"]["objects"]["outliers"] == 30
    names = {figure.name for figure in headline(scores)}
    assert {"calibration error, cross-fitted", "calibration error, cross-fitted, prior of the data"} <= names
    assert json.loads(json.dumps(scores, allow_nan=False)) == scores

    elsewhere, _, _ = evaluate(
        bundle, embedder, make_faces(80, seed=4), copies, "other faces", outliers_of_each_kind=FEW
    )
    assert not any("cross_fitted" in name for name in [*elsewhere["majority"], *elsewhere["rejection"]])
    assert "calibration_trained_sigma" in elsewhere["majority"]


def test_labels_of_fer2013_are_seven(small_run: SmallRun, make_faces: MakeFaces) -> None:
    """Contempt is none of them: a face is named by the nearest of the seven other centroids."""
    bundle = load_bundle(small_run.bundle)
    embedder = Embedder(bundle.embedder_path, provider="cpu")
    faces = make_faces(80, seed=2)
    opinions = np.random.default_rng(0).integers(-1, 8, 80)
    copies = NearCopies({}, frozenset(faces.names[:10]))
    scores, _, _ = evaluate(
        bundle, embedder, replace(faces, opinions=opinions), copies, "made faces", outliers_of_each_kind=FEW
    )
    seven = [column for column, name in enumerate(bundle.mixture.emotions) if name != "contempt"]
    nearest = bundle.mixture.distances(embedder.embed(faces.images))[:, seven].argmin(axis=1)
    for name, first in (("all", 0), ("without_near_copies", 10)):
        rows = np.flatnonzero(np.isin(opinions[first:], seven)) + first
        found = scores["fer2013_labels"][name]
        assert found["faces"] == len(rows)
        assert list(found["recall_per_class"]) == [bundle.mixture.emotions[column] for column in seven]
        assert found["accuracy"] == pytest.approx((nearest[rows] == opinions[rows]).mean())
    assert "accuracy, FER2013's own seven labels" in {figure.name for figure in headline(scores)}

    without, _, _ = evaluate(bundle, embedder, faces, copies, "made faces", outliers_of_each_kind=FEW)
    assert "fer2013_labels" not in without
