"""``mien embed`` on files that can and cannot be read."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mien.index.bundle.bundle import Bundle
from mien.model.emotions import EMOTIONS
from mien.service.commands.main import main
from tests.support.faces import MakeFaces


@pytest.fixture
def pictures(tmp_path: Path, make_faces: MakeFaces) -> Path:
    """A folder with face crops, a text file, a broken image, an empty file and a hidden file."""
    folder = tmp_path / "pictures"
    (folder / "b").mkdir(parents=True)
    for row, crop in enumerate(make_faces(5).images):
        Image.fromarray(crop).save(folder / ("b" if row % 2 else "") / f"{row}.png")
    (folder / "notes.txt").write_text("no picture")
    (folder / "b" / "broken.png").write_bytes((folder / "0.png").read_bytes()[:300])
    (folder / "empty.jpg").touch()
    (folder / ".hidden").write_text("not mine")
    return folder


def test_archive_has_one_row_per_face(
    pictures: Path, capsys: pytest.CaptureFixture[str], shipped_bundle: Bundle
) -> None:
    output = pictures.parent / "out" / "faces.npz"
    assert main(["embed", str(pictures), "--already-cropped", "--output", str(output)]) == 0
    with np.load(output) as faces:
        assert faces["paths"].tolist() == [
            str(pictures / name) for name in ("0.png", "2.png", "4.png", "b/1.png", "b/3.png")
        ]
        assert faces["boxes"].tolist() == [[0, 0, 48, 48]] * 5
        assert faces["embeddings"].shape == (5, 64)
        assert faces["embeddings"].dtype == np.float32
        assert faces["posteriors"].shape == (5, 8)
        assert faces["posteriors"].dtype == np.float32
        assert faces["emotions"].tolist() == [EMOTIONS[row] for row in faces["posteriors"].argmax(axis=1)]
        mixture = shipped_bundle.mixture
        np.testing.assert_allclose(faces["posteriors"], mixture.posterior(faces["embeddings"]), atol=1e-6)
    report = capsys.readouterr().err
    for name in ("notes.txt", "broken.png", "empty.jpg"):
        assert f"{name}: " in report
    assert ".hidden" not in report
    assert "5 faces of 5 files; 3 files left out" in report


def test_photograph_without_faces_is_reported(pictures: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = pictures.parent / "faces.npz"
    Image.new("RGB", (100, 80)).save(pictures.parent / "blank.png")
    assert main(["embed", str(pictures.parent / "blank.png"), "--output", str(output)]) == 1
    assert "no face was found" in capsys.readouterr().err
    with np.load(output) as faces:
        assert faces["embeddings"].shape == (0, 64)
        assert faces["boxes"].shape == (0, 4)
        assert faces["posteriors"].shape == (0, 8)


def test_missing_path_is_reported_and_skipped(pictures: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = pictures.parent / "exactly-this-name"
    paths = [str(pictures / "absent.png"), str(pictures / "0.png")]
    assert main(["embed", *paths, "--already-cropped", "--output", str(output)]) == 0
    assert "absent.png: No such file" in capsys.readouterr().err
    assert output.is_file()


def test_links_are_followed_once_and_the_output_is_left_out(pictures: Path, tmp_path: Path) -> None:
    (tmp_path / "linked").mkdir()
    (pictures / "0.png").rename(tmp_path / "linked" / "0.png")
    (pictures / "a").symlink_to(tmp_path / "linked")
    (pictures / "b" / "round").symlink_to(pictures)
    output = pictures / "faces.npz"
    for _ in range(2):
        assert main(["embed", str(pictures), "--already-cropped", "--output", str(output)]) == 0
        with np.load(output) as faces:
            names = [str(Path(path).relative_to(pictures)) for path in faces["paths"]]
        assert names == ["2.png", "4.png", "a/0.png", "b/1.png", "b/3.png"]


def test_output_that_is_not_a_file_is_refused_before_work(pictures: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for output in (pictures, Path("/dev/null")):
        assert main(["embed", str(pictures), "--output", str(output)]) == 1
        assert "--output must be a file" in capsys.readouterr().err
    assert main(["embed", str(pictures), "--output", str(pictures / "2.png" / "x.npz")]) == 1
    assert len(capsys.readouterr().err.strip().splitlines()) == 1


def test_limits_come_from_options(pictures: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = pictures.parent / "faces.npz"
    assert main(["embed", str(pictures / "2.png"), "--output", str(output), "--max-pixels", "100"]) == 1
    assert "at most 100 pixels" in capsys.readouterr().err
