import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from PIL.ImageColor import getrgb

from mien.index.evaluation import plots
from mien.index.evaluation.scores.calibration import expected_calibration_error, reliability_bins
from mien.model.emotions import EMOTIONS

PNG_LIMIT_BYTES = 200_000

Reals = NDArray[np.float64]


def scene(n: int, seed: int = 0) -> tuple[Reals, NDArray[np.int64], Reals, Reals]:
    """Embeddings, labels, centroids and covariances of eight Gaussians in 16 dimensions."""
    rng = np.random.default_rng(seed)
    centroids = 2 * rng.normal(size=(8, 16))
    labels = rng.integers(0, 8, n)
    covariances = np.stack([np.diag(rng.uniform(0.1, 1, 16)) for _ in range(8)])
    return centroids[labels] + 0.7 * rng.normal(size=(n, 16)), labels, centroids, covariances


def draw_confusion(path: Path) -> None:
    rng = np.random.default_rng(0)
    confusion = rng.integers(0, 300, (8, 8)) + np.diag(rng.integers(500, 9000, 8))
    confusion[7] = 0
    plots.confusion_matrix(path, confusion.tolist(), EMOTIONS)


def draw_reliability(path: Path) -> None:
    rng = np.random.default_rng(0)
    posterior = rng.dirichlet(np.full(8, 0.2), 500)
    bins = reliability_bins(posterior, rng.integers(0, 8, 500))
    plots.reliability_diagram(path, bins, expected_calibration_error(bins), note="as served")


def draw_map(path: Path) -> None:
    embeddings, labels, centroids, covariances = scene(6_000)
    plots.embedding_map(path, embeddings, labels, centroids=centroids, covariances=covariances, names=EMOTIONS)


def draw_curves(path: Path) -> None:
    epochs = np.arange(1, 201)
    plots.training_curves(path, (1 / epochs).tolist(), (1 - 0.5 / epochs).tolist())


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with each of the four plots."""
    folder = tmp_path_factory.mktemp("plots")
    for name, draw in {
        "confusion": draw_confusion,
        "reliability": draw_reliability,
        "map": draw_map,
        "curves": draw_curves,
    }.items():
        draw(folder / f"{name}.png")
    return folder


@pytest.mark.parametrize("name", ["confusion", "reliability", "map", "curves"])
def test_plot_is_a_small_png_with_something_on_it(drawn: Path, name: str) -> None:
    path = drawn / f"{name}.png"
    assert path.stat().st_size < PNG_LIMIT_BYTES
    with Image.open(path) as image:
        assert image.format == "PNG"
        assert min(image.size) >= 600
    assert len(colours_of(path)) > 20


def colours_of(path: Path) -> NDArray[np.int64]:
    """(k, 3): each colour that occurs in an image."""
    red, green, blue = np.moveaxis(pixels_of(path).astype(np.int64), 2, 0)
    packed = np.unique(red << 16 | green << 8 | blue)
    return np.stack([packed >> 16, packed >> 8 & 255, packed & 255], axis=1)


def pixels_of(path: Path) -> NDArray[np.uint8]:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def test_map_of_the_same_faces_is_the_same_file(drawn: Path, tmp_path: Path) -> None:
    draw_map(tmp_path / "again.png")
    assert (tmp_path / "again.png").read_bytes() == (drawn / "map.png").read_bytes()


def test_each_emotion_of_the_map_has_its_colour(drawn: Path) -> None:
    seen = colours_of(drawn / "map.png")
    for emotion in EMOTIONS:
        assert np.abs(seen - getrgb(plots.EMOTION_COLOURS[emotion])).max(axis=1).min() <= 4, emotion


def test_emotions_have_different_colours() -> None:
    assert tuple(plots.EMOTION_COLOURS) == EMOTIONS
    assert len(set(plots.EMOTION_COLOURS.values())) == len(EMOTIONS)


def test_faces_without_a_label_are_not_drawn(tmp_path: Path) -> None:
    embeddings, labels, centroids, covariances = scene(300)
    inked = []
    for chosen in (np.where(labels == 3, -1, labels), labels):
        plots.embedding_map(
            tmp_path / "map.png", embeddings, chosen, centroids=centroids, covariances=covariances, names=EMOTIONS
        )
        inked.append(int((pixels_of(tmp_path / "map.png").min(axis=2) < 230).sum()))
    assert inked[0] < inked[1]


def test_map_of_equal_centroids_and_of_sub_classes(tmp_path: Path) -> None:
    embeddings, _, _, _ = scene(50)
    names = [f"sub-class {number}" for number in range(20)]
    plots.embedding_map(
        tmp_path / "map.png",
        embeddings,
        np.arange(50) % 20,
        centroids=np.zeros((20, 16)),
        covariances=np.zeros((20, 16, 16)),
        names=names,
    )
    assert (tmp_path / "map.png").stat().st_size > 10_000


def test_axes_of_the_map_are_the_first_eigenvectors_of_the_covariance() -> None:
    embeddings, _, _, _ = scene(500)
    view, explained = plots.principal_view(embeddings)
    values, vectors = np.linalg.eigh(np.cov(embeddings.T, bias=True))
    assert view.middle == pytest.approx(embeddings.mean(axis=0))
    assert np.abs(view.axes @ vectors[:, [-1, -2]]) == pytest.approx(np.eye(2), abs=1e-8)
    assert explained == pytest.approx(values[[-1, -2]] / values.sum())
    assert view.project(embeddings).var(axis=0) == pytest.approx(values[[-1, -2]])


def test_map_does_not_flip() -> None:
    embeddings, _, _, _ = scene(500)
    axes = plots.principal_view(embeddings)[0].axes
    shuffled = embeddings[np.random.default_rng(1).permutation(500)].astype(np.float32)
    assert plots.principal_view(shuffled)[0].axes == pytest.approx(axes, abs=1e-4)
    assert plots.principal_view(-embeddings)[0].axes == pytest.approx(axes, abs=1e-8)
    assert (axes[[0, 1], np.abs(axes).argmax(axis=1)] > 0).all()


def test_plots_keep_no_global_figures() -> None:
    code = "import sys, mien.index.evaluation.plots; sys.exit('matplotlib.pyplot' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
