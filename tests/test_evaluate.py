import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from conftest import MakeFaces, SmallRun

from index.bundle import load_bundle, read_manifest
from index.evaluate import evaluate, headline, record_scores, save_plots, save_scores
from model.embedder import Embedder
from model.errors import DatasetError
from model.ferplus import LabelledFaces, NearCopies
from model.votes import UNLABELLED, labels


def test_scores_are_those_of_the_served_objects(small_run: SmallRun, make_faces: MakeFaces, tmp_path: Path) -> None:
    bundle = load_bundle(small_run.bundle)
    embedder = Embedder(bundle.embedder_path, provider="cpu")
    faces = make_faces(80, seed=2)
    leak = faces.names[0]
    near_copies = NearCopies({}, frozenset({leak}))
    scores, embeddings, face_labels = evaluate(bundle, embedder, faces, near_copies, "made faces")

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
    assert all(np.isfinite(value) for _, value in headline(scores))

    copy = Path(shutil.copytree(small_run.bundle, tmp_path / "bundle"))
    record_scores(load_bundle(copy), scores)
    assert read_manifest(copy).scores == scores
    load_bundle(copy)


def test_leave_one_out_does_not_find_the_query_itself(small_run: SmallRun, make_faces: MakeFaces) -> None:
    """Two faces of each emotion, each pair near copies: nothing relevant is left to find."""
    bundle = load_bundle(small_run.bundle)
    faces = make_faces(16, seed=3)
    clear = faces.take(labels(faces.votes) != UNLABELLED)
    group = {name: int(label) for name, label in zip(clear.names, labels(clear.votes), strict=True)}
    group |= {f"{entry.id}.png": 100 + row for row, entry in enumerate(bundle.gallery.entries)}
    with pytest.raises(DatasetError, match="relevant gallery face"):
        evaluate(bundle, Embedder(bundle.embedder_path), clear, NearCopies(group, frozenset()), "pairs")


def test_faces_without_a_majority_cannot_be_scored(small_run: SmallRun) -> None:
    bundle = load_bundle(small_run.bundle)
    undecided = LabelledFaces(("a.png",), np.zeros((1, 48, 48), np.uint8), np.ones((1, 10), np.int64))
    with pytest.raises(DatasetError, match="no face with a strict majority"):
        evaluate(bundle, Embedder(bundle.embedder_path), undecided, NearCopies({}, frozenset()), "undecided")
