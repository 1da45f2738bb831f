from pathlib import Path

import pytest

from mien.model.datasets.registry import DATASETS, read_dataset
from mien.model.errors import DatasetError


def test_every_set_refuses_an_empty_folder_in_one_sentence(tmp_path: Path) -> None:
    assert list(DATASETS) == ["affectnet", "ck+", "bu-3dfe", "jaffe", "raf-db", "folders", "csv"]
    for name in DATASETS:
        with pytest.raises(DatasetError, match=r"^[^\n]*expected [^\n]*$"):
            read_dataset(name, tmp_path)


def test_default_split_and_another(tmp_path: Path) -> None:
    for name in ("F0001_SU01WH_F2D.bmp", "F0001_SU04WH_F2D.bmp"):
        (tmp_path / name).touch()
    assert len(read_dataset("bu-3dfe", tmp_path)) == 2
    assert len(read_dataset("bu-3dfe", tmp_path, "intense")) == 1


def test_missing_data_sets_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"expected one of the data sets affectnet, .*, csv, got 'fer'"):
        read_dataset("fer", tmp_path)
    with pytest.raises(DatasetError, match=r"expected the data set jaffe in the folder .*absent, found nothing there"):
        read_dataset("jaffe", tmp_path / "absent")
    (tmp_path / "file").touch()
    with pytest.raises(DatasetError, match=r"expected the data set folders in the folder .*file, found a file there"):
        read_dataset("folders", tmp_path / "file")
