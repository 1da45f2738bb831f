import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from networks import WORLD_EMOTIONS, CroppedPhotographs, Yardstick, add_row, cached_crops, network_figures
from PIL import Image

from mien.index.evaluation.scores.classification import classification_scores
from mien.index.evaluation.transfer import embed_photographs, labelled_crops
from mien.index.mixture.mixture import centroid_distances
from mien.model.datasets.ferplus import NearCopies
from mien.model.datasets.folders import read_folders
from mien.model.embedder.embedder import Embedder
from mien.model.emotions import EMOTIONS, UNLABELLED, labels
from mien.model.errors import DatasetError
from mien.model.pipeline import load_pipeline
from tests.support.cartoon import cartoon
from tests.support.faces import make_faces
from tests.support.small_run import SmallRun


@pytest.fixture(scope="module")
def embedder(small_run: SmallRun) -> Embedder:
    return Embedder(small_run.network, provider="cpu")


@pytest.fixture(scope="module")
def yardstick() -> Yardstick:
    faces, studio = make_faces(64, seed=3), make_faces(16, seed=4)
    validation = make_faces(80, seed=2)
    return Yardstick(
        make_faces(320, seed=1),
        validation,
        NearCopies({}, frozenset({validation.names[0]})),
        CroppedPhotographs(np.arange(64) % len(EMOTIONS), faces.images, 3),
        CroppedPhotographs(np.arange(16) % 2, studio.images[np.arange(16) % 2], 0),
    )


def test_figures_are_those_of_the_nearest_centroid(embedder: Embedder, yardstick: Yardstick) -> None:
    row = network_figures(embedder, yardstick)
    training = yardstick.training
    majority, points = labels(training.votes), embedder.embed(training.images).astype(np.float64)
    centroids = np.stack([points[majority == emotion].mean(axis=0) for emotion in range(len(EMOTIONS))])

    emotions = labels(yardstick.validation.votes)
    rows = np.flatnonzero(emotions != UNLABELLED)[1:]  # the first is a near copy of Training
    nearest = centroid_distances(embedder.embed(yardstick.validation.images[rows]), centroids).argmin(axis=1)
    assert row["fer accuracy"] == pytest.approx((nearest == emotions[rows]).mean())

    nearest = centroid_distances(embedder.embed(yardstick.world.crops), centroids).argmin(axis=1)
    expected = classification_scores(yardstick.world.labels, nearest, EMOTIONS)
    assert row["world accuracy"] == pytest.approx(expected["accuracy"])
    recalls = [expected["recall_per_class"][emotion] for emotion in WORLD_EMOTIONS]
    assert [row[f"world {emotion}"] for emotion in WORLD_EMOTIONS] == pytest.approx(recalls)
    assert row["world recall of six"] == pytest.approx(np.mean([recall for recall in recalls if recall is not None]))
    assert row["world not found"] == 3
    assert 0 < row["world recall@1"] <= 1
    nearest = centroid_distances(embedder.embed(yardstick.studio.crops), centroids).argmin(axis=1)
    assert row["studio right"] == (nearest == yardstick.studio.labels).sum()


def test_dividing_by_the_prior_predicts_frequent_emotions_less_often(embedder: Embedder, yardstick: Yardstick) -> None:
    """Neutral is made frequent in Training."""
    majority = labels(yardstick.training.votes)
    kept = (majority == 0) | (np.arange(len(majority)) < 80)
    row = network_figures(embedder, replace(yardstick, training=yardstick.training.take(kept)))
    assert row["world neutral@-0.5"] <= row["world neutral"]


def test_an_emotion_without_training_faces_has_no_centroid(embedder: Embedder, yardstick: Yardstick) -> None:
    training = yardstick.training.take(labels(yardstick.training.votes) != EMOTIONS.index("fear"))
    with pytest.raises(DatasetError, match="each emotion must have a Training face, got none of fear"):
        network_figures(embedder, replace(yardstick, training=training))


def test_faces_are_cut_out_once_and_as_for_the_transfer(small_run: SmallRun, tmp_path: Path) -> None:
    pipeline = load_pipeline(small_run.network, provider="cpu")
    for emotion in ("happiness", "fear"):
        (tmp_path / "set" / emotion).mkdir(parents=True)
        Image.fromarray(cartoon(200)).save(tmp_path / "set" / emotion / "face.png")
    Image.new("RGB", (64, 64)).save(tmp_path / "set" / "fear" / "none.png")
    photographs = read_folders(tmp_path / "set", "all")
    found = cached_crops(pipeline, photographs, tmp_path / "crops.npz")
    assert found.skipped == 1
    np.testing.assert_array_equal(found.crops, labelled_crops(pipeline, photographs)[1])
    embedded = embed_photographs(pipeline, photographs)
    np.testing.assert_allclose(pipeline.embedder.embed(found.crops), embedded.embeddings, atol=1e-4)
    np.testing.assert_array_equal(found.labels, photographs.labels[embedded.rows])

    (tmp_path / "set" / "happiness" / "face.png").write_bytes(b"")  # the file is not read again
    assert len(cached_crops(pipeline, photographs, tmp_path / "crops.npz").labels) == 2
    with pytest.raises(DatasetError, match=r"crops\.npz must hold the 2 photographs of .*, got 3"):
        cached_crops(pipeline, photographs.take(np.array([0, 1])), tmp_path / "crops.npz")


def test_rows_go_under_one_heading(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    add_row(path, "a", {"accuracy": 0.5, "right": 3})
    add_row(path, "b", {"accuracy": 2 / 3, "right": 30})
    with path.open(newline="") as file:
        assert list(csv.reader(file)) == [["network", "accuracy", "right"], ["a", "0.5", "3"], ["b", "0.6667", "30"]]
    with pytest.raises(DatasetError, match="must have the columns network, got network, accuracy, right"):
        add_row(path, "c", {})
