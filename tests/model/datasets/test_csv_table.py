from pathlib import Path

import numpy as np
import pytest

from mien.model.datasets.csv_table import lines, read_listing, rows
from mien.model.errors import DatasetError


def write(root: Path, text: str, *images: str) -> Path:
    for name in images:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    table = root / "labels.csv"
    table.write_text(text)
    return table


def test_table_with_all_columns(tmp_path: Path) -> None:
    table = write(
        tmp_path,
        "image,subject,label,x,y,width,height,split\n"
        "a/1.jpg,p7,Happy,1,2,3.5,4,test\n"
        "2.jpg,p8,fear,,,,,train\n"
        "3.jpg,p8,bored,,,,,test\n",
        "a/1.jpg",
        "2.jpg",
    )
    photographs = read_listing(table)
    assert photographs.paths == (tmp_path / "a/1.jpg", tmp_path / "2.jpg")
    assert photographs.labels.tolist() == [1, 6]
    assert photographs.subjects == ("p7", "p8")
    assert photographs.boxes == ((1.0, 2.0, 3.5, 4.0), None)
    assert photographs.left_out == {"bored": 1}
    assert photographs.name == f"{tmp_path.name}/labels.csv all"
    test = read_listing(tmp_path, "test")
    assert test.paths == (tmp_path / "a/1.jpg",)
    assert test.left_out == {"bored": 1}


def test_two_columns_are_enough(tmp_path: Path) -> None:
    photographs = read_listing(write(tmp_path, f"path,emotion\n{tmp_path}/b/1.png,sad\n", "b/1.png"))
    assert photographs.paths == (tmp_path / "b/1.png",)
    assert photographs.subjects is None
    assert photographs.boxes is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("image\n1.jpg\n", r"labels\.csv, line 1: expected the columns image, label; missing label"),
        ("image,label,x\n1.jpg,sad,3\n", "line 1: .*missing y, width, height"),
        ("image,label\n1.jpg,sad\n2.jpg,sad\n", r"line 3: expected the labelled photograph .*2\.jpg, found none"),
        ("image,label\n1.jpg,sad\n1.jpg,fear\n", r"line 3: expected each photograph once, got 1\.jpg again"),
        ("image,label\n1.jpg\n", "line 2: expected 2 fields, got 1"),
        ("image,label,subject\n1.jpg,sad, \n", "line 2: expected a subject, got an empty field"),
        (
            "image,label,x,y,width,height\n1.jpg,sad,1,2,3,\n",
            "line 2: x, y, width, height must be numbers, got 1, 2, 3, ",
        ),
        ("image,label,x,y,width,height\n1.jpg,sad,1,2,0,4\n", "line 2: expected a box with an area, got 1, 2, 0, 4"),
        ("image,label,x,y,width,height\n1.jpg,sad,1,inf,1,4\n", "line 2: expected a box with an area"),
        ("image,label\n1.jpg,unknown\n", "got 1 of 'unknown'"),
        ("image,label\n", "got none at all"),
    ],
)
def test_faults_are_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DatasetError, match=message):
        read_listing(write(tmp_path, text, "1.jpg"))


def test_missing_tables_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"expected a table of photographs at .*labels\.csv, found none"):
        read_listing(tmp_path)
    write(tmp_path, "image,label\n1.jpg,sad\n", "1.jpg")
    with pytest.raises(DatasetError, match="expected the columns image, label, split; missing split"):
        read_listing(tmp_path, "test")


def write_text(path: Path, text: str, encoding: str = "utf-8") -> Path:
    path.write_bytes(text.encode(encoding))
    return path


def test_rows_know_their_lines_and_columns(tmp_path: Path) -> None:
    table = write_text(tmp_path / "t.csv", 'a,b,c\n1,"x\ny",2\n\n3,z,4\n')
    assert list(rows(table, ("c", "a"))) == [
        (3, {"a": "1", "b": "x\ny", "c": "2"}),
        (5, {"a": "3", "b": "z", "c": "4"}),
    ]


def test_byte_order_mark_is_no_part_of_the_heading(tmp_path: Path) -> None:
    table = write_text(tmp_path / "t.csv", "\ufeffa\r\n1\r\n")
    assert list(rows(table, ("a",))) == [(2, {"a": "1"})]


def test_faults_name_file_and_line(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"t\.csv, line 1: expected the columns a, b; missing b"):
        list(rows(write_text(tmp_path / "t.csv", "a\n1\n"), ("a", "b")))
    with pytest.raises(DatasetError, match=r"t\.csv, line 3: expected 2 fields, got 1"):
        list(rows(write_text(tmp_path / "t.csv", "a,b\n1,2\n3\n"), ("a", "b")))
    with pytest.raises(DatasetError, match=r"t\.csv, line 1: expected the columns a; missing a"):
        list(rows(write_text(tmp_path / "t.csv", ""), ("a",)))
    with pytest.raises(DatasetError, match=r"t\.csv, after line 0: expected UTF-8 CSV text"):
        list(lines(write_text(tmp_path / "t.csv", "ä,1\n", "latin-1")))


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_delimiter_is_found_out(tmp_path: Path, delimiter: str) -> None:
    fields = (("a", "b", "c"), ("1", '"x, y; z"', "3"))
    table = write_text(tmp_path / "t.csv", "".join(delimiter.join(each) + "\n" for each in fields))
    assert list(rows(table, ("a", "c"))) == [(2, {"a": "1", "b": "x, y; z", "c": "3"})]


def test_path_and_emotion_are_understood_and_further_columns_are_metadata(tmp_path: Path) -> None:
    text = "path;emotion;subject;age;camera\n1.jpg;happy;ann;31;one\n2.jpg;sad;bob; ;two\n"
    photographs = read_listing(write(tmp_path, text, "1.jpg", "2.jpg"))
    assert photographs.classes == ("happiness", "sadness")
    assert photographs.metadata == {"age": ("31", ""), "camera": ("one", "two")}
    assert photographs.take(np.array([1])).metadata == {"age": ("",), "camera": ("two",)}


def test_misspelt_label_is_an_error_with_a_suggestion(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"line 3: no emotion is called 'happyness': did you mean happiness\?"):
        read_listing(write(tmp_path, "image,label\n1.jpg,sad\n2.jpg,Happyness\n", "1.jpg", "2.jpg"))
    with pytest.raises(DatasetError, match="'angri': did you mean anger"):
        read_listing(write(tmp_path, "image,label\n1.jpg,angri\n", "1.jpg"))
    assert read_listing(write(tmp_path, "image,label\n1.jpg,sad\n2.jpg,bored\n", "1.jpg")).left_out == {"bored": 1}


def test_unknown_split_says_what_is_there(tmp_path: Path) -> None:
    table = write(tmp_path, "image,label,split\n1.jpg,sad,train\n2.jpg,sad,test\n", "1.jpg", "2.jpg")
    with pytest.raises(DatasetError, match="its column split has train, test; got 'dev'"):
        read_listing(table, "dev")
