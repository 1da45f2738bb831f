from pathlib import Path

import numpy as np
import pytest

from mien.model.datasets.base import Collection, check_split, files_by_name, first_folder
from mien.model.errors import DatasetError


def test_collection_keeps_what_ferplus_knows_and_counts_the_rest(tmp_path: Path) -> None:
    (tmp_path / "a.png").touch()
    (tmp_path / "b.png").touch()
    collection = Collection("made", cropped=True)
    collection.add(tmp_path / "b.png", "contempt", subject="2", box=(1.0, 2.0, 3.0, 4.0))
    collection.add(tmp_path / "a.png", "neutral", subject="1")
    collection.add(tmp_path / "absent.png", "bored")  # left out before it is looked for
    collection.add(tmp_path / "a.png", "bored")
    collection.leave_out("unlabelled", 3)
    collection.leave_out("nothing of this", 0)
    photographs = collection.photographs()
    assert photographs.name == "made"
    assert photographs.cropped
    assert photographs.paths == (tmp_path / "b.png", tmp_path / "a.png")
    assert photographs.labels.tolist() == [7, 0]
    assert photographs.labels.dtype == np.int64
    assert photographs.subjects == ("2", "1")
    assert photographs.boxes == ((1.0, 2.0, 3.0, 4.0), None)
    assert photographs.left_out == {"bored": 2, "unlabelled": 3}
    assert photographs.classes == ("neutral", "contempt")
    assert photographs.missing_emotions == ("happiness", "surprise", "sadness", "anger", "disgust", "fear")

    taken = photographs.take(np.array([1]))
    assert taken.paths == (tmp_path / "a.png",)
    assert taken.labels.tolist() == [0]
    assert taken.subjects == ("1",)
    assert taken.boxes == (None,)
    assert len(taken) == 1
    assert photographs.take(np.array([True, False])).classes == ("contempt",)


def test_subjects_and_boxes_are_none_where_they_are_not_known(tmp_path: Path) -> None:
    (tmp_path / "a.png").touch()
    collection = Collection("made")
    collection.add(tmp_path / "a.png", "fear")
    photographs = collection.photographs()
    assert photographs.subjects is None
    assert photographs.boxes is None
    assert photographs.take(np.array([0])).subjects is None


def test_set_without_a_known_emotion_is_an_error_that_says_what_came(tmp_path: Path) -> None:
    collection = Collection("made all")
    with pytest.raises(DatasetError, match=r"made all: expected photographs.*got none at all"):
        collection.photographs()
    collection.leave_out("unknown", 4)
    collection.leave_out("bored")
    with pytest.raises(DatasetError, match=r"neutral, happiness.*got 4 of 'unknown', 1 of 'bored'"):
        collection.photographs()
    with pytest.raises(DatasetError, match=r"absent\.png, found none"):
        collection.add(tmp_path / "absent.png", "fear")


def test_files_by_name_are_unique_and_skip_shadows(tmp_path: Path) -> None:
    for name in ("a/X.TIFF", "b/y.tiff", "b/y.txt", "__MACOSX/b/y.tiff", "b/._y.tiff"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert files_by_name(tmp_path, ".tiff") == {"X.TIFF": tmp_path / "a/X.TIFF", "y.tiff": tmp_path / "b/y.tiff"}
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "y.tiff").touch()
    with pytest.raises(DatasetError, match=r"expected each photograph once, got .*b/y\.tiff and .*c/y\.tiff"):
        files_by_name(tmp_path, ".tiff")


def test_unknown_splits_and_missing_folders_are_refused(tmp_path: Path) -> None:
    check_split("all", ("all",), "X")
    with pytest.raises(DatasetError, match="X has the splits all, test, got 'val'"):
        check_split("val", ("all", "test"), "X")
    (tmp_path / "two").mkdir()
    assert first_folder(tmp_path, ("one", "two"), "X") == tmp_path / "two"
    with pytest.raises(DatasetError, match="holds no X: expected the folder one or three"):
        first_folder(tmp_path, ("one", "three"), "X")
