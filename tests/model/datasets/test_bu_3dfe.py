from pathlib import Path

import pytest

from mien.model.datasets.bu_3dfe import read_bu_3dfe
from mien.model.emotions import EMOTIONS
from mien.model.errors import DatasetError


def write(root: Path, *names: str) -> Path:
    for name in names:
        folder = root / name[:5]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return root


def test_photographs_by_their_names(tmp_path: Path) -> None:
    write(
        tmp_path / "BU_3DFE",
        "F0001_AN01WH_F2D.bmp",
        "F0001_AN01WH_F3D.bmp",
        "F0001_AN01WH_F3D.wrl",
        "F0001_AN01WH_RAW.wrl",
        "F0001_NE00WH_F2D.bmp",
        "M0044_DI02AE_F2D.bmp",
        "M0044_FE03AE_F2D.bmp",
        "M0044_HA04AE_F2D.bmp",
        "M0044_SA01AE_F2D.bmp",
        "M0044_SU02AE_F2D.bmp",
    )
    photographs = read_bu_3dfe(tmp_path)
    assert photographs.subjects == ("F0001", "F0001", *("M0044",) * 5)
    assert [EMOTIONS[label] for label in photographs.labels] == [
        "anger",
        "neutral",
        "disgust",
        "fear",
        "happiness",
        "sadness",
        "surprise",
    ]
    assert photographs.missing_emotions == ("contempt",)
    assert photographs.left_out == {}
    assert not photographs.cropped


def test_intense_split_has_the_upper_intensities(tmp_path: Path) -> None:
    write(tmp_path, *(f"F0001_SU0{level}BL_F2D.bmp" for level in (1, 2, 3, 4)), "F0001_NE00BL_F2D.bmp")
    photographs = read_bu_3dfe(tmp_path, "intense")
    assert [path.name[6:10] for path in photographs.paths] == ["NE00", "SU03", "SU04"]
    assert photographs.left_out == {"lower intensities": 2}
    assert len(read_bu_3dfe(tmp_path)) == 5


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("F0001_XX01WH_F2D.bmp", "expected a name such as F0001_AN01WH_F2D.bmp"),
        ("F001_AN01WH_F2D.bmp", "expected a name such as"),
        ("F0001_AN05WH_F2D.bmp", "expected a name such as"),
        ("F0001_AN00WH_F2D.bmp", "expected intensity 00 for NE and 01 to 04 for the rest"),
        ("F0001_NE01WH_F2D.bmp", "expected intensity 00 for NE"),
    ],
)
def test_other_names_are_refused(tmp_path: Path, name: str, message: str) -> None:
    write(tmp_path, "F0001_AN01WH_F2D.bmp", name)
    with pytest.raises(DatasetError, match=rf"{name}: {message}"):
        read_bu_3dfe(tmp_path)


def test_folder_without_photographs_is_refused(tmp_path: Path) -> None:
    write(tmp_path, "F0001_AN01WH_F3D.bmp", "F0002.rar")
    with pytest.raises(DatasetError, match=r"BU-3DFE all: expected photographs .* got none at all"):
        read_bu_3dfe(tmp_path)
    with pytest.raises(DatasetError, match="splits all, intense"):
        read_bu_3dfe(tmp_path, "test")
