import hashlib
from pathlib import Path

import numpy as np
import pytest

from mien.index.bundle.bundle import load_bundle
from mien.index.bundle.manifest import EMBEDDER
from mien.index.errors import BundleError
from mien.index.fitting.build import build_bundle
from mien.model.embedder.embedder import Embedder
from mien.model.emotions import UNLABELLED, labels
from mien.model.errors import DatasetError
from tests.support.faces import MakeFaces
from tests.support.small_run import SmallRun


def test_mixture_is_fitted_on_the_training_embeddings(small_run: SmallRun, make_faces: MakeFaces) -> None:
    training = make_faces(320, seed=1)
    bundle = load_bundle(small_run.bundle)
    embeddings = Embedder(small_run.network, provider="cpu").embed(training.images)
    majority = labels(training.votes)
    for label in range(8):
        np.testing.assert_allclose(
            bundle.mixture.centroids[label], embeddings[majority == label].mean(axis=0), atol=1e-4
        )
    np.testing.assert_allclose(
        bundle.gallery.embeddings, embeddings[labels(training.votes, "argmax") != UNLABELLED], atol=1e-4
    )


def test_training_face_finds_itself(small_run: SmallRun, make_faces: MakeFaces) -> None:
    training = make_faces(320, seed=1)
    bundle = load_bundle(small_run.bundle)
    queries = Embedder(small_run.bundle / EMBEDDER, provider="cpu").embed(training.images[:20])
    for name, matches in zip(training.names, bundle.gallery.search(queries, 1), strict=False):
        assert f"{matches[0].entry.id}.png" == name
        assert matches[0].distance == pytest.approx(0, abs=1e-4)


def test_only_an_older_bundle_is_replaced(small_run: SmallRun, tmp_path: Path, make_faces: MakeFaces) -> None:
    faces = make_faces(160, seed=1)
    first = build_bundle(small_run.network, faces, tmp_path / "bundle")
    second = build_bundle(small_run.network, faces, tmp_path / "bundle")
    assert first.sha256[EMBEDDER] == second.sha256[EMBEDDER]
    assert hashlib.sha256((tmp_path / "bundle" / EMBEDDER).read_bytes()).hexdigest() == second.sha256[EMBEDDER]
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("keep me")
    with pytest.raises(BundleError, match="holds something else than a bundle"):
        build_bundle(small_run.network, faces, tmp_path / "mine")
    (tmp_path / "mine" / "manifest.json").write_text('{"name": "a web page"}')
    with pytest.raises(BundleError, match="holds something else than a bundle"):
        build_bundle(small_run.network, faces, tmp_path / "mine")
    assert (tmp_path / "mine" / "notes.txt").read_text() == "keep me"
    with pytest.raises(BundleError, match="a bundle is a folder"):
        build_bundle(small_run.network, faces, tmp_path / "mine" / "notes.txt")


def test_too_few_faces_of_an_emotion_are_refused(small_run: SmallRun, tmp_path: Path, make_faces: MakeFaces) -> None:
    with pytest.raises(DatasetError, match="at least two faces"):
        build_bundle(small_run.network, make_faces(8), tmp_path / "bundle")
    assert not (tmp_path / "bundle").exists()
