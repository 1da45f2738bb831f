from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mien.index.fitting.training_data import dataset_name, read_training_data
from mien.model.datasets.ferplus import LabelledFaces, Split
from mien.model.emotions import labels
from mien.model.errors import DatasetError
from mien.model.faces.detection import Detector
from mien.model.faces.reader import FaceReader
from tests.support.faces import MakeFaces, WriteSplit
from tests.support.images import two_faces


def reader() -> FaceReader:
    return FaceReader(Detector())


def write(root: Path, *names: str) -> Path:
    generator = np.random.default_rng(0)
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(generator.integers(0, 256, (48, 48), dtype=np.uint8)).save(root / name)
    return root


def read(root: Path, split: Split) -> LabelledFaces:
    return read_training_data(root, split, reader, already_cropped=True)


def named(faces: LabelledFaces) -> list[tuple[str, str]]:
    return [(name, faces.emotions[label]) for name, label in zip(faces.names, labels(faces.votes), strict=True)]


def test_folders_are_labels_of_ones_own(tmp_path: Path) -> None:
    write(tmp_path, "train/wink/1.png", "train/happy/1.png", "train/happy/2.png", "valid/wink/3.png", "test/wink/4.png")
    assert named(read(tmp_path, "Training")) == [
        ("train-happy-1.png", "happiness"),
        ("train-happy-2.png", "happiness"),
        ("train-wink-1.png", "wink"),
    ]
    assert read(tmp_path, "Training").emotions == ("happiness", "wink")  # those of FER+ first
    assert named(read(tmp_path, "PublicTest")) == [("valid-wink-3.png", "wink")]
    assert named(read(tmp_path, "PrivateTest")) == [("test-wink-4.png", "wink")]
    assert dataset_name(tmp_path) == tmp_path.name


@pytest.mark.parametrize("with_subjects", [False, True])
def test_data_without_splits_is_divided_by_people(tmp_path: Path, *, with_subjects: bool) -> None:
    names = [f"{number}.png" for number in range(40)]
    rows = ["image,label,subject" if with_subjects else "image,label"]
    rows += [
        f"{name},{'wink' if row % 2 else 'pain'}{f',{row // 4}' * with_subjects}" for row, name in enumerate(names)
    ]
    (write(tmp_path, *names) / "labels.csv").write_text("\n".join(rows), encoding="utf-8")
    training, validation = read(tmp_path, "Training"), read(tmp_path, "PublicTest")
    assert len(validation) == 4  # a tenth, or one of ten people
    assert {*training.names, *validation.names} == set(names)
    if with_subjects:
        assert len({int(Path(name).stem) // 4 for name in validation.names}) == 1
    with pytest.raises(DatasetError, match="has no split for tests"):
        read(tmp_path, "PrivateTest")


def test_table_with_a_column_of_splits(tmp_path: Path) -> None:
    write(tmp_path, *(f"{number}.png" for number in range(12)))
    table = tmp_path / "labels.csv"
    rows = [f"{number}.png,{'a' if number % 2 else 'b'},Train" for number in range(12)]
    table.write_text("\n".join(["image,label,split", *rows]), encoding="utf-8")
    assert len(read(table, "Training")) == 12
    assert len(read(table, "PublicTest")) == 1  # of the training rows, as there are no others


def test_faces_are_found_in_photographs(tmp_path: Path) -> None:
    write(tmp_path, "train/nothing/1.png")
    (tmp_path / "train" / "wink").mkdir()
    two_faces().save(tmp_path / "train" / "wink" / "two.png")
    left_out: list[dict[str, int]] = []
    faces = read_training_data(tmp_path, "Training", reader, on_left_out=left_out.append)
    assert faces.images.shape == (1, 48, 48)
    assert left_out == [{"no face found": 1}]


def test_ferplus_is_read_as_it_is(tmp_path: Path, make_faces: MakeFaces, write_split: WriteSplit) -> None:
    write_split(tmp_path, "Training", make_faces(9))
    read_faces = read_training_data(tmp_path, "Training", pytest.fail)
    assert read_faces.names == make_faces(9).names
    assert dataset_name(tmp_path) == "FER+"


def nothing(root: Path) -> Path:
    return root / "nothing"


def only_a_test(root: Path) -> Path:
    return write(root, "test/wink/1.png")


def one_photograph(root: Path) -> Path:
    return write(root, "wink/1.png")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (nothing, "expected FER.*got nothing at"),
        (Path, "expected folders named as labels, got no folder"),
        (only_a_test, "must have the split train, got test"),
        (one_photograph, "two or more people, got one"),
    ],
)
def test_other_data_is_refused(tmp_path: Path, make: Callable[[Path], Path], message: str) -> None:
    with pytest.raises(DatasetError, match=message):
        read(make(tmp_path), "Training")
