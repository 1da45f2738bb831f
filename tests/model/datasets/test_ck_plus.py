from pathlib import Path

import pytest

from mien.model.datasets.ck_plus import read_ck_plus
from mien.model.emotions import EMOTIONS
from mien.model.errors import DatasetError


def write_sequence(
    root: Path, subject: str, sequence: str, frames: int, label: str | None, *, images: str = "", labels: str = ""
) -> Path:
    """Write the frames of a sequence and the file of its label, as in CK+'s archives; returns the label's path."""
    folder = root / images / "cohn-kanade-images" / subject / sequence
    folder.mkdir(parents=True)
    for frame in range(1, frames + 1):
        (folder / f"{subject}_{sequence}_{frame:08d}.png").touch()
    (folder / ".DS_Store").touch()
    path = root / labels / "Emotion" / subject / sequence / f"{subject}_{sequence}_{frames:08d}_emotion.txt"
    path.parent.mkdir(parents=True)  # sequences without a label have an empty folder
    if label is not None:
        path.write_text(f"   {label}\n")
    return path


def shown(root: Path, split: str = "all") -> list[tuple[str, str]]:
    photographs = read_ck_plus(root, split)
    return [
        (path.stem[-17:], EMOTIONS[label]) for path, label in zip(photographs.paths, photographs.labels, strict=True)
    ]


def test_last_frame_has_the_label_and_the_first_is_neutral(tmp_path: Path) -> None:
    write_sequence(tmp_path, "S005", "001", 11, "3.0000000e+00")
    write_sequence(tmp_path, "S010", "002", 14, "7.0000000e+00")
    write_sequence(tmp_path, "S010", "004", 9, None)
    photographs = read_ck_plus(tmp_path)
    assert [path.name for path in photographs.paths] == [
        "S005_001_00000001.png",
        "S005_001_00000011.png",
        "S010_002_00000001.png",
        "S010_002_00000014.png",
    ]
    assert [EMOTIONS[label] for label in photographs.labels] == ["neutral", "disgust", "neutral", "surprise"]
    assert photographs.subjects == ("S005", "S005", "S010", "S010")
    assert photographs.left_out == {"sequences without an emotion label": 1}
    assert not photographs.cropped
    assert photographs.boxes is None


def test_peaks_split_has_no_neutral_frames(tmp_path: Path) -> None:
    write_sequence(tmp_path, "S005", "001", 11, "2.0")
    photographs = read_ck_plus(tmp_path, "peaks")
    assert photographs.classes == ("contempt",)
    assert "neutral" in photographs.missing_emotions
    with pytest.raises(DatasetError, match=r"CK\+ has the splits all, peaks, got 'test'"):
        read_ck_plus(tmp_path, "test")


@pytest.mark.parametrize(
    ("code", "emotion"),
    list(enumerate(("neutral", "anger", "contempt", "disgust", "fear", "happiness", "sadness", "surprise"))),
)
def test_emotion_codes(tmp_path: Path, code: int, emotion: str) -> None:
    write_sequence(tmp_path, "S005", "001", 3, f"{code}.0000000e+00")
    assert shown(tmp_path, "peaks") == [("S005_001_00000003", emotion)]


def test_a_single_frame_is_the_peak_alone(tmp_path: Path) -> None:
    write_sequence(tmp_path, "S005", "001", 1, "5")
    assert shown(tmp_path) == [("S005_001_00000001", "happiness")]


def test_folders_of_the_archives_are_found(tmp_path: Path) -> None:
    write_sequence(tmp_path, "S005", "001", 2, "1", images="extended-cohn-kanade-images", labels="Emotion_labels")
    assert shown(tmp_path) == [("S005_001_00000001", "neutral"), ("S005_001_00000002", "anger")]


def test_faults_are_named(tmp_path: Path) -> None:
    label = write_sequence(tmp_path, "S005", "001", 5, "1")
    for text, message in (
        ("8.0", "expected a whole number from 0 to 7, got 8.0"),
        ("1.5", "got 1.5"),
        ("nan", "got nan"),
        ("happy", "expected one number, got something else"),
        ("", "expected one number"),
        ("1.0\n2.0", "expected one number"),
        ("\u00fc", "expected one number"),
    ):
        label.write_text(text, encoding="utf-8")
        with pytest.raises(DatasetError, match=rf"S005_001_00000005_emotion\.txt, line 1: .*{message}"):
            read_ck_plus(tmp_path)
    label.write_text("1")
    frame = tmp_path / "cohn-kanade-images" / "S005" / "001" / "S005_001_00000005.png"
    frame.rename(frame.with_name("S005_001_00000006.png"))
    with pytest.raises(DatasetError, match=r"expected its frame .*S005_001_00000005\.png, found none"):
        read_ck_plus(tmp_path)
    frame.touch()
    label.with_name("S005_001_00000004_emotion.txt").write_text("2")
    with pytest.raises(DatasetError, match="expected one label per sequence, got another"):
        read_ck_plus(tmp_path)


def test_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"holds no CK\+ images: expected the folder cohn-kanade-images"):
        read_ck_plus(tmp_path)
    (tmp_path / "cohn-kanade-images").mkdir()
    with pytest.raises(DatasetError, match=r"holds no CK\+ labels: expected the folder Emotion"):
        read_ck_plus(tmp_path)
    (tmp_path / "Emotion").mkdir()
    with pytest.raises(DatasetError, match=r"CK\+ all: expected photographs .* got none at all"):
        read_ck_plus(tmp_path)
