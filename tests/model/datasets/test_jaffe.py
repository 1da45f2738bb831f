from pathlib import Path

import pytest

from mien.model.datasets.jaffe import read_jaffe
from mien.model.emotions import EMOTIONS
from mien.model.errors import DatasetError


def test_photographs_by_their_names(tmp_path: Path) -> None:
    names = ("KA.AN1.39", "KA.DI3.44", "KL.FE2.175", "KL.HA1.158", "TM.NE3.179", "UY.SA1.146", "YM.SU2.59")
    for name in ("README_FIRST.txt", ".DS_Store", *(f"{name}.tiff" for name in names)):
        (tmp_path / "jaffe").mkdir(exist_ok=True)
        (tmp_path / "jaffe" / name).touch()
    photographs = read_jaffe(tmp_path)
    assert [path.stem for path in photographs.paths] == list(names)
    assert photographs.subjects == ("KA", "KA", "KL", "KL", "TM", "UY", "YM")
    assert [EMOTIONS[label] for label in photographs.labels] == [
        "anger",
        "disgust",
        "fear",
        "happiness",
        "neutral",
        "sadness",
        "surprise",
    ]
    assert photographs.missing_emotions == ("contempt",)
    assert not photographs.cropped
    assert read_jaffe(tmp_path / "jaffe").paths == photographs.paths


@pytest.mark.parametrize("name", ["KA.CO1.39.tiff", "KA-AN1.39.tiff", "KAX.AN1.39.tiff", "KA.AN.39.tiff"])
def test_other_names_are_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "KA.AN1.39.tiff").touch()
    (tmp_path / name).touch()
    with pytest.raises(DatasetError, match=rf"{name}: expected a name such as KA\.AN1\.39\.tiff"):
        read_jaffe(tmp_path)


def test_folder_without_photographs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"JAFFE all: expected photographs .* got none at all"):
        read_jaffe(tmp_path)
    with pytest.raises(DatasetError, match="JAFFE has the splits all, got 'test'"):
        read_jaffe(tmp_path, "test")


def test_copies_as_png_files_are_read(tmp_path: Path) -> None:
    for name in ("KA.AN1.39", "KL.HA1.158"):
        (tmp_path / f"{name}.png").touch()
    assert [EMOTIONS[label] for label in read_jaffe(tmp_path).labels] == ["anger", "happiness"]
    (tmp_path / "TM.NE3.179.tiff").touch()
    assert [path.suffix for path in read_jaffe(tmp_path).paths] == [".tiff"]
