from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from mien.index.bundle.sub_classes_npz import read_sub_classes, write_sub_classes
from mien.index.errors import BundleError
from mien.index.mixture.sub_classes import SubClasses

EMOTIONS = ("neutral", "happiness")
FACES = ("a", "b", "c")


def test_sub_classes_are_read_as_written(sub_classes: SubClasses, tmp_path: Path) -> None:
    path = tmp_path / "subclasses.npz"
    write_sub_classes(path, sub_classes, "network", FACES)
    read = read_sub_classes(path, "network", EMOTIONS, 3, FACES)
    assert [each.id for each in read.each] == ["neutral/1", "happiness/1", "happiness/2"]
    assert read.of_face == sub_classes.of_face
    assert read.highest == (1, 2)
    for one, other in zip(read.each, sub_classes.each, strict=True):
        assert (one.weight, one.nearest, one.emotion) == (other.weight, other.nearest, other.emotion)
        np.testing.assert_array_equal(one.covariance, other.covariance)
        np.testing.assert_array_equal(one.difference, other.difference)


def test_names_are_read_as_written(sub_classes: SubClasses, tmp_path: Path) -> None:
    first, second, third = sub_classes.each
    named = replace(sub_classes, each=(first, second, replace(third, name="closed smile", description="Lips closed.")))
    path = tmp_path / "subclasses.npz"
    write_sub_classes(path, named, "network", FACES)
    read = read_sub_classes(path, "network", EMOTIONS, 3, FACES)
    assert [(each.name, each.description) for each in read.each] == [
        (None, None),
        (None, None),
        ("closed smile", "Lips closed."),
    ]
    assert read.names == {"happiness/2": "happiness/closed smile"}
    with pytest.raises(BundleError, match="names must be text of shape"):
        read_sub_classes(_rewritten(path, names=np.array(["a"])), "network", EMOTIONS, 3, FACES)


def _rewritten(path: Path, **changes: NDArray[np.generic]) -> Path:
    with np.load(path) as file:
        arrays = dict(file)
    np.savez_compressed(path, **{**arrays, **changes})
    return path


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"places": np.array([0, 1, 3])}, "places must be from 0 to 2, got up to 3"),
        ({"places": np.array([0, 1])}, "places must be integers of shape"),
        ({"emotions": np.array([0, 0, 0])}, "each of 2 emotions"),
        ({"covariances": -np.stack([np.eye(3)] * 3)}, "positive definite"),
        ({"nearest": np.array(["1", "2", "3"])}, "lists of ids"),
        ({"nearest": np.array(["[" * 100_000] * 3)}, "lists of ids"),
        ({"weights": np.array([1.0, 0.0, 1.0])}, "weights must be above 0"),
        ({"weights": np.array([1.0, 2.0, 1.0])}, "and at most 1, got 1.0 to 2.0"),
        ({"centroids": np.full((3, 3), 1e300)}, "centroids must be finite floats"),
        ({"embedder_sha256": np.array("other")}, "another embedder"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(
    sub_classes: SubClasses, tmp_path: Path, changes: dict[str, NDArray[np.generic]], message: str
) -> None:
    path = tmp_path / "subclasses.npz"
    write_sub_classes(path, sub_classes, "network", FACES)
    with pytest.raises(BundleError, match=message):
        read_sub_classes(_rewritten(path, **changes), "network", EMOTIONS, 3, FACES)
