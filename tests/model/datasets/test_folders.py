from pathlib import Path

import pytest

from mien.model.datasets.folders import read_folders
from mien.model.emotions import EMOTIONS
from mien.model.errors import DatasetError


def write(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def test_folder_per_label(tmp_path: Path) -> None:
    root = write(
        tmp_path / "mine",
        "Happy/b.PNG",
        "Happy/deep/a.jpg",
        "Happy/.c.jpg",
        "sleepy/d.jpg",
        "fear/e.webp",
        "fear/f.txt",
    )
    photographs = read_folders(root)
    assert photographs.name == "mine all"
    assert [str(path.relative_to(root)) for path in photographs.paths] == [
        "Happy/b.PNG",
        "Happy/deep/a.jpg",
        "fear/e.webp",
    ]
    assert [EMOTIONS[label] for label in photographs.labels] == ["happiness", "happiness", "fear"]
    assert photographs.left_out == {"sleepy": 1, "no photograph by its name": 1}
    assert photographs.subjects is None
    assert not photographs.cropped


def test_parts_are_splits(tmp_path: Path) -> None:
    write(tmp_path, "train/angry/1.png", "test/neutral/2.png", "test/happy/3.png", "docs/readme.txt")
    assert read_folders(tmp_path).labels.tolist() == [1, 0, 4]
    assert [path.name for path in read_folders(tmp_path, "train").paths] == ["1.png"]
    with pytest.raises(
        DatasetError, match=r"part val: expected folders named as the emotions .* got docs, test, train"
    ):
        read_folders(tmp_path, "val")


def test_folders_without_a_known_label_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"expected folders named as the emotions neutral, .* got no folder"):
        read_folders(tmp_path)
    write(tmp_path, "0/a.png", "1/b.png")
    with pytest.raises(DatasetError, match="got 0, 1"):
        read_folders(tmp_path)
    write(tmp_path, "sad/readme.txt")
    with pytest.raises(DatasetError, match="got 1 of '0', 1 of '1', 1 of 'no photograph by its name'"):
        read_folders(tmp_path)


def test_misspelt_folder_is_an_error_with_a_suggestion(tmp_path: Path) -> None:
    write(tmp_path, "neutral/a.png", "happyness/b.png")
    with pytest.raises(DatasetError, match=r"no emotion is called 'happyness': did you mean happiness\?"):
        read_folders(tmp_path)
    write(tmp_path / "all", "suprise/a.png", "neutrel/b.png")
    with pytest.raises(DatasetError, match=r"no emotion is called 'neutrel': did you mean neutral\?"):
        read_folders(tmp_path / "all")
    assert read_folders(tmp_path / "all", emotions=None).classes == ("neutrel", "suprise")
