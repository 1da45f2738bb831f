from pathlib import Path

import pytest

from mien.model.files import files_below, write_atomically


def test_files_below_come_sorted_without_hidden_ones_and_through_links_once(tmp_path: Path) -> None:
    for name in ("b/2", "b/10", "a/1", ".hidden/3", "b/.4"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "b" / "round").symlink_to(tmp_path)
    (tmp_path / "c").symlink_to(tmp_path / "a")
    assert [str(path.relative_to(tmp_path)) for path in files_below(tmp_path)] == ["a/1", "b/10", "b/2"]
    assert list(files_below(tmp_path / "absent")) == [tmp_path / "absent"]


def test_error_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "new" / "file"
    with write_atomically(path) as file:
        file.write(b"old")
    with pytest.raises(TypeError), write_atomically(path) as file:
        file.writelines([b"ne", "w"])  # type: ignore[list-item]
    assert path.read_bytes() == b"old"


def test_file_appears_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "curves.csv"
    with write_atomically(path) as file:
        file.write(b"first half, ")
        file.flush()
        assert not path.exists()
        file.write(b"second half")
    assert path.read_bytes() == b"first half, second half"
