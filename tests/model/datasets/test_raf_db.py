from pathlib import Path

import pytest

from mien.model.datasets.raf_db import read_raf_db
from mien.model.emotions import EMOTIONS
from mien.model.errors import DatasetError

ENTRIES = (
    ("train_00001.jpg", 5),
    ("train_00002.jpg", 1),
    ("train_00003.jpg", 2),
    ("train_00004.jpg", 3),
    ("test_0001.jpg", 4),
    ("test_0002.jpg", 6),
    ("test_0003.jpg", 7),
)


def write(root: Path, *kinds: str, boxes: bool = False, label_list: str = "list_patition_label.txt") -> Path:
    (root / "EmoLabel").mkdir(parents=True)
    (root / "EmoLabel" / label_list).write_text("".join(f"{name} {code}\n" for name, code in ENTRIES))
    for kind in kinds:
        (root / "Image" / kind).mkdir(parents=True)
        for name, _ in ENTRIES:
            (root / "Image" / kind / (name.replace(".jpg", "_aligned.jpg") if kind == "aligned" else name)).touch()
    if boxes:
        (root / "Annotation" / "boundingbox").mkdir(parents=True)
        for row, (name, _) in enumerate(ENTRIES):
            path = root / "Annotation" / "boundingbox" / name.replace(".jpg", "_boundingbox.txt")
            path.write_text(f"{row}.0 10.5 100.0 60.5 \n")
    return root


def test_aligned_images(tmp_path: Path) -> None:
    write(tmp_path, "aligned", "original", boxes=True)
    photographs = read_raf_db(tmp_path)
    assert photographs.name == "RAF-DB all, aligned images"
    assert photographs.cropped
    assert photographs.boxes is None
    assert photographs.subjects is None
    assert photographs.paths[0] == tmp_path / "Image" / "aligned" / "train_00001_aligned.jpg"
    assert [EMOTIONS[label] for label in photographs.labels] == [
        "sadness",
        "surprise",
        "fear",
        "disgust",
        "happiness",
        "anger",
        "neutral",
    ]
    assert photographs.missing_emotions == ("contempt",)


def test_original_images_with_boxes(tmp_path: Path) -> None:
    write(tmp_path / "basic", "original", boxes=True, label_list="list_partition_label.txt")
    photographs = read_raf_db(tmp_path, "test")
    assert not photographs.cropped
    assert [path.name for path in photographs.paths] == ["test_0001.jpg", "test_0002.jpg", "test_0003.jpg"]
    assert photographs.boxes == ((4.0, 10.5, 96.0, 50.0), (5.0, 10.5, 95.0, 50.0), (6.0, 10.5, 94.0, 50.0))


def test_originals_can_be_asked_for_and_need_no_boxes(tmp_path: Path) -> None:
    write(tmp_path, "aligned", "original")
    photographs = read_raf_db(tmp_path, "train", images="original")
    assert photographs.boxes is None
    assert len(photographs) == 4
    assert not photographs.cropped


def test_images_that_the_list_lacks_are_counted(tmp_path: Path) -> None:
    write(tmp_path, "aligned")
    (tmp_path / "Image" / "aligned" / "test_0009_aligned.jpg").touch()
    (tmp_path / "Image" / "aligned" / "train_00009_aligned.jpg").touch()
    assert read_raf_db(tmp_path).left_out == {"not in the list of labels": 2}
    assert read_raf_db(tmp_path, "test").left_out == {"not in the list of labels": 1}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("test_0004.jpg 4", r"expected the labelled photograph .*test_0004_aligned\.jpg, found none"),
        ("test_0001.jpg 8", "expected an emotion from 1 to 7, got '8'"),
        ("test_0001.jpg 0", "expected an emotion from 1 to 7, got '0'"),
        ("test_0001.jpg happy", "expected an emotion .* got 'happy'"),
        ("test_0001.jpg", "expected a name such as train_00001.jpg and a number, got 'test_0001.jpg'"),
        ("other.jpg 4", "expected a name such as"),
        ("train_00001.jpg 5", "expected each photograph once, got train_00001.jpg again"),
    ],
)
def test_faulty_line_is_named(tmp_path: Path, line: str, message: str) -> None:
    write(tmp_path, "aligned")
    label_list = tmp_path / "EmoLabel" / "list_patition_label.txt"
    label_list.write_text(f"train_00001.jpg 5\n\n{line}\n")
    with pytest.raises(DatasetError, match=rf"list_patition_label\.txt, line 3: {message}"):
        read_raf_db(tmp_path)


def test_faulty_boxes_are_named(tmp_path: Path) -> None:
    write(tmp_path, "original", boxes=True)
    box = tmp_path / "Annotation" / "boundingbox" / "train_00002_boundingbox.txt"
    for text, message in (
        ("1 2 3", "expected four numbers"),
        ("1 2 x 4", "expected four numbers"),
        ("5 5 5 9", "expected a box with an area, got 5.0, 5.0, 5.0, 9.0"),
        ("1 2 nan 4", "expected a box with an area"),
    ):
        box.write_text(text)
        with pytest.raises(DatasetError, match=rf"line 2: .*train_00002_boundingbox\.txt: {message}"):
            read_raf_db(tmp_path)
    box.unlink()
    with pytest.raises(DatasetError, match=r"line 2: expected the box .*train_00002_boundingbox\.txt, found none"):
        read_raf_db(tmp_path)


def test_other_layouts_are_refused(tmp_path: Path) -> None:
    with pytest.raises(
        DatasetError, match=r"holds no RAF-DB: expected EmoLabel/list_patition_label\.txt and Image/alig"
    ):
        read_raf_db(tmp_path)
    write(tmp_path, "aligned")
    with pytest.raises(DatasetError, match="Image/original/"):
        read_raf_db(tmp_path, images="original")
    with pytest.raises(DatasetError, match="RAF-DB has the splits all, test, train, got 'val'"):
        read_raf_db(tmp_path, "val")
