from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from mien.index.bundle.sub_classes_file import read_sub_classes, write_sub_classes
from mien.index.evaluation.sheets import caption, write_contact_sheet
from mien.index.mixture.sub_classes import SubClass, SubClasses
from mien.model.emotions import VOTE_COLUMNS
from mien.model.errors import BundleError

EMOTIONS = ("neutral", "happiness")
FACES = ("a", "b", "c")


def sub_class(name: str, weight: float, centre: float) -> SubClass:
    difference = np.zeros(len(VOTE_COLUMNS))
    difference[2] = 0.25 if name == "happiness/2" else 0.0
    return SubClass(
        name,
        name.partition("/")[0],
        weight,
        np.full(3, centre),
        np.eye(3) * (1 + centre),
        ("a", "b"),
        np.full(len(VOTE_COLUMNS), 0.1),
        difference,
    )


@pytest.fixture
def subclasses() -> SubClasses:
    each = (sub_class("neutral/1", 1.0, 0.0), sub_class("happiness/1", 0.7, 4.0), sub_class("happiness/2", 0.3, 8.0))
    return SubClasses(EMOTIONS, each, {"a": 0, "b": 1, "c": 2}, (1, 2))


def test_faces_go_to_the_likeliest_sub_class_of_their_emotion(subclasses: SubClasses) -> None:
    points = np.array([[8.1, 8, 8], [8.1, 8, 8], [4, 4, 4.2]])
    places, probabilities = subclasses.assign(points, np.array([1, 0, 1]))
    assert places.tolist() == [2, 0, 1]
    assert probabilities[1] == 1
    assert (probabilities[[0, 2]] > 0.9).all()


def test_what_is_written_is_read(subclasses: SubClasses, tmp_path: Path) -> None:
    path = tmp_path / "subclasses.npz"
    write_sub_classes(path, subclasses, "network", FACES)
    read = read_sub_classes(path, "network", EMOTIONS, 3, FACES)
    assert [each.id for each in read.each] == ["neutral/1", "happiness/1", "happiness/2"]
    assert read.of_face == subclasses.of_face
    assert read.highest == (1, 2)
    for one, other in zip(read.each, subclasses.each, strict=True):
        assert (one.weight, one.nearest, one.emotion) == (other.weight, other.nearest, other.emotion)
        np.testing.assert_array_equal(one.covariance, other.covariance)
        np.testing.assert_array_equal(one.difference, other.difference)


def _rewritten(path: Path, **changes: NDArray[np.generic]) -> Path:
    with np.load(path) as file:
        arrays = dict(file)
    np.savez_compressed(path, **{**arrays, **changes})
    return path


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"places": np.array([0, 1, 3])}, "one of 3 sub-classes, got 3"),
        ({"places": np.array([0, 1])}, "places should be"),
        ({"emotions": np.array([0, 0, 0])}, "each of 2 emotions"),
        ({"covariances": -np.stack([np.eye(3)] * 3)}, "positive definite"),
        ({"nearest": np.array(["1", "2", "3"])}, "lists of ids"),
        ({"embedder_sha256": np.array("other")}, "another embedder"),
    ],
)
def test_what_does_not_belong_together_is_refused(
    subclasses: SubClasses, tmp_path: Path, changes: dict[str, NDArray[np.generic]], message: str
) -> None:
    path = tmp_path / "subclasses.npz"
    write_sub_classes(path, subclasses, "network", FACES)
    with pytest.raises(BundleError, match=message):
        read_sub_classes(_rewritten(path, **changes), "network", EMOTIONS, 3, FACES)


def test_a_contact_sheet_has_a_row_for_each(subclasses: SubClasses, tmp_path: Path) -> None:
    path = tmp_path / "happiness.png"
    rows = subclasses.each[1:]
    write_contact_sheet(
        path, rows, {"a": np.full((48, 48), 90, dtype=np.uint8)}, [np.linspace(80, 120, 48)[:, None].repeat(48, 1)] * 2
    )
    with Image.open(path) as sheet:
        pixels = np.asarray(sheet)
    assert pixels.shape == (2 * 130 + 6, 3 * 102 + 6)
    first = pixels[28:124, 6:102]
    assert (first[0].max(), first[-1].min()) == (0, 255), "the mean face stands first, from black to white"
    assert (pixels == 90).sum() >= 2 * 96 * 96, "the one face at hand, twice"
    assert caption(rows[1]) == "happiness/2  30% of happiness  votes: +25% surprise"
    assert caption(rows[0]) == "happiness/1  70% of happiness"
