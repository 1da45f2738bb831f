from pathlib import Path

import pytest

from mien.model.datasets.tables import lines, rows
from mien.model.errors import DatasetError


def write(path: Path, text: str, encoding: str = "utf-8") -> Path:
    path.write_bytes(text.encode(encoding))
    return path


def test_rows_know_their_lines_and_columns(tmp_path: Path) -> None:
    table = write(tmp_path / "t.csv", 'a,b,c\n1,"x\ny",2\n\n3,z,4\n')
    assert list(rows(table, ("c", "a"))) == [
        (3, {"a": "1", "b": "x\ny", "c": "2"}),
        (5, {"a": "3", "b": "z", "c": "4"}),
    ]


def test_a_byte_order_mark_is_no_part_of_the_heading(tmp_path: Path) -> None:
    table = write(tmp_path / "t.csv", "\ufeffa\r\n1\r\n")
    assert list(rows(table, ("a",))) == [(2, {"a": "1"})]


def test_faults_name_file_and_line(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"t\.csv, line 1: expected the columns a, b; missing b"):
        list(rows(write(tmp_path / "t.csv", "a\n1\n"), ("a", "b")))
    with pytest.raises(DatasetError, match=r"t\.csv, line 3: expected 2 fields, got 1"):
        list(rows(write(tmp_path / "t.csv", "a,b\n1,2\n3\n"), ("a", "b")))
    with pytest.raises(DatasetError, match=r"t\.csv, line 1: expected the columns a; missing a"):
        list(rows(write(tmp_path / "t.csv", ""), ("a",)))
    with pytest.raises(DatasetError, match=r"t\.csv, after line 0: expected UTF-8 CSV text"):
        list(lines(write(tmp_path / "t.csv", "ä,1\n", "latin-1")))
