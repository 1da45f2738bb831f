import csv
from pathlib import Path

import numpy as np
import pytest

from mien.model.datasets.affectnet import EXPRESSIONS, read_affectnet
from mien.model.emotions import EMOTIONS
from mien.model.errors import DatasetError

HEADING = [
    "subDirectory_filePath",
    "face_x",
    "face_y",
    "face_width",
    "face_height",
    "facial_landmarks",
    "expression",
    "valence",
    "arousal",
]


def row(name: str, expression: object, box: tuple[object, ...] = (10, 20, 30, 40)) -> list[object]:
    return [name, *box, "1.5;2.5;3.5;4.5", expression, -0.25, 0.5]


def write_tables(root: Path, *, heading: bool = True, lists: str = "", **tables: list[list[object]]) -> Path:
    for part, table in tables.items():
        (root / lists).mkdir(parents=True, exist_ok=True)
        with (root / lists / f"{part}.csv").open("w", newline="") as file:
            csv.writer(file).writerows([*([HEADING] if heading else []), *table])
        for fields in table:
            image = root / "Manually_Annotated_Images" / str(fields[0])
            image.parent.mkdir(parents=True, exist_ok=True)
            image.touch()
    return root


def write_set(folder: Path, expressions: list[object]) -> Path:
    for name in ("images", "annotations"):
        (folder / name).mkdir(parents=True)
    for number, expression in enumerate(expressions):
        (folder / "images" / f"{number}.jpg").touch()
        np.save(folder / "annotations" / f"{number}_exp.npy", np.array(expression))
        np.save(folder / "annotations" / f"{number}_val.npy", np.array("-0.1"))
        np.save(folder / "annotations" / f"{number}_lnd.npy", np.zeros(136))
    return folder


@pytest.mark.parametrize("lists", ["", "Manually_Annotated_file_lists"])
@pytest.mark.parametrize("heading", [True, False])
def test_photographs_of_tables(tmp_path: Path, lists: str, heading: bool) -> None:
    """All eleven classes, in AffectNet's order, which is not that of FER+."""
    table = [row(f"{number % 3}/{number}.jpg", number) for number in range(11)]
    write_tables(tmp_path, lists=lists, heading=heading, validation=table)
    photographs = read_affectnet(tmp_path)
    assert photographs.name == "AffectNet validation"
    assert [EMOTIONS[label] for label in photographs.labels] == list(EXPRESSIONS[:8])
    assert photographs.labels.tolist() == [0, 1, 3, 2, 6, 5, 4, 7]
    assert photographs.paths[4] == tmp_path / "Manually_Annotated_Images" / "1" / "4.jpg"
    assert photographs.boxes == ((10.0, 20.0, 30.0, 40.0),) * 8
    assert photographs.left_out == {"none": 1, "uncertain": 1, "no face": 1}
    assert photographs.subjects is None
    assert not photographs.cropped
    assert photographs.missing_emotions == ()


def test_splits_of_tables(tmp_path: Path) -> None:
    write_tables(tmp_path, validation=[row("a.jpg", 6)], training=[row("b.jpg", 1), row("c.jpg", 4), row("b.jpg", 2)])
    assert read_affectnet(tmp_path).labels.tolist() == [4]
    training = read_affectnet(tmp_path, "training")
    assert training.labels.tolist() == [1, 6]
    assert training.left_out == {"listed again": 1}
    assert read_affectnet(tmp_path, "all").labels.tolist() == [4, 1, 6]
    with pytest.raises(DatasetError, match="splits validation, training, all, got 'test'"):
        read_affectnet(tmp_path, "test")


def test_empty_boxes_are_none(tmp_path: Path) -> None:
    boxes: list[tuple[object, ...]] = [
        ("NULL",) * 4,
        (-1, -1, -1, -1),
        ("", "", "", ""),
        (0, 0, "nan", 3),
        (1, 2, 3, 4),
    ]
    write_tables(tmp_path, validation=[row(f"{number}.jpg", 0, box) for number, box in enumerate(boxes)])
    assert read_affectnet(tmp_path).boxes == (None, None, None, None, (1.0, 2.0, 3.0, 4.0))


def test_photographs_with_annotation_files(tmp_path: Path) -> None:
    """AffectNet stores each number as text; 2.jpg comes before 10.jpg."""
    write_set(tmp_path / "val_set", ["7", "3", "0", "1", "0", "0", "0", "0", "0", "0", "6"])
    write_set(tmp_path / "train_set", [np.int64(2), 5])
    photographs = read_affectnet(tmp_path)
    assert photographs.cropped
    assert photographs.boxes is None
    assert [path.name for path in photographs.paths] == [f"{number}.jpg" for number in range(11)]
    assert photographs.labels.tolist() == [7, 2, 0, 1, 0, 0, 0, 0, 0, 0, 4]
    assert read_affectnet(tmp_path, "training").labels.tolist() == [3, 5]
    assert len(read_affectnet(tmp_path, "all")) == 13


def test_photograph_without_an_annotation_is_counted(tmp_path: Path) -> None:
    write_set(tmp_path / "val_set", ["7"])
    (tmp_path / "val_set" / "images" / "5.jpg").touch()
    (tmp_path / "val_set" / "images" / "notes.txt").touch()
    assert read_affectnet(tmp_path).left_out == {"without an annotation": 1}


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        (6, "11", r"validation\.csv, line 3: expression must be a whole number from 0 to 10, got '11'"),
        (6, "happy", r"validation\.csv, line 3: expression .* got 'happy'"),
        (6, "", r"validation\.csv, line 3: expression .* got ''"),
        (1, "left", r"validation\.csv, line 3: face_x, .* must be numbers, got left, 20, 30, 40"),
        (0, "gone.jpg", r"validation\.csv, line 3: expected the labelled photograph .*gone\.jpg, found none"),
    ],
)
def test_faulty_row_is_named(tmp_path: Path, field: int, value: str, message: str) -> None:
    table = [row("a.jpg", 0), row("b.jpg", 1)]
    table[1][field] = value
    write_tables(tmp_path, validation=table)
    (tmp_path / "Manually_Annotated_Images" / "gone.jpg").unlink(missing_ok=True)
    with pytest.raises(DatasetError, match=message):
        read_affectnet(tmp_path)


def test_row_that_is_cut_off_is_refused(tmp_path: Path) -> None:
    write_tables(tmp_path, heading=False, validation=[row("a.jpg", 0), ["b.jpg", 1, 2]])
    with pytest.raises(DatasetError, match=r"validation\.csv, line 2: expected 9 fields, got 3"):
        read_affectnet(tmp_path)


def test_faulty_annotations_are_named(tmp_path: Path) -> None:
    folder = write_set(tmp_path / "val_set", ["0", "1"])
    annotation = folder / "annotations" / "1_exp.npy"
    for content, message in ((b"", "expected a NumPy file"), (b"no array", "expected a NumPy file")):
        annotation.write_bytes(content)
        with pytest.raises(DatasetError, match=rf"1_exp\.npy: {message}"):
            read_affectnet(tmp_path)
    for value, message in ((np.array([1, 2]), "one value"), (np.array("x"), "got 'x'"), (np.array(1.5), "got '1.5'")):
        np.save(annotation, value)
        with pytest.raises(DatasetError, match=rf"1_exp\.npy: .*{message}"):
            read_affectnet(tmp_path)
    np.save(annotation, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(DatasetError, match=r"1_exp\.npy: expected a NumPy file"):
        read_affectnet(tmp_path)
    np.save(annotation, np.array("1"))
    (folder / "images" / "1.jpg").unlink()
    with pytest.raises(DatasetError, match=r"1_exp\.npy: expected its photograph in .*images, found none"):
        read_affectnet(tmp_path)


def test_set_without_a_known_emotion_is_refused(tmp_path: Path) -> None:
    write_tables(tmp_path, validation=[row("a.jpg", 8), row("b.jpg", 9), row("c.jpg", 9)])
    with pytest.raises(DatasetError, match=r"AffectNet validation: .*got 1 of 'none', 2 of 'uncertain'"):
        read_affectnet(tmp_path)


def test_other_layouts_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"holds no AffectNet validation: expected validation\.csv .* val_set/"):
        read_affectnet(tmp_path)
    write_tables(tmp_path, validation=[])
    with pytest.raises(DatasetError, match="holds no AffectNet images: expected the folder Manually_Annotated_Images"):
        read_affectnet(tmp_path)
    with pytest.raises(DatasetError, match=r"expected validation\.csv .* and training\.csv"):
        read_affectnet(tmp_path, "all")
