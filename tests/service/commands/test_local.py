"""mien classify and mien retrieve: answers without a server."""

import csv
import io
import json
from pathlib import Path

import pytest
from PIL import Image

from mien.index.bundle.bundle import load_bundle
from mien.index.bundle.default import default_bundle
from mien.model.emotions import EMOTIONS
from mien.service.commands.main import main
from tests.support.cartoon import cartoon
from tests.support.faces import MakeFaces


@pytest.fixture
def faces(tmp_path: Path, make_faces: MakeFaces) -> Path:
    """A folder with three face crops and a file that is no picture."""
    folder = tmp_path / "faces"
    folder.mkdir()
    for row, crop in enumerate(make_faces(3).images):
        Image.fromarray(crop).save(folder / f"{row}.png")
    (folder / "notes.txt").write_text("no picture")
    return folder


def test_classify_writes_json(faces: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["classify", str(faces), "--already-cropped", "--json"]) == 0
    written = capsys.readouterr()
    rows = json.loads(written.out)
    assert [row["path"] for row in rows] == [str(faces / f"{number}.png") for number in range(3)]
    for row in rows:
        assert tuple(row["posterior"]) == EMOTIONS
        assert max(row["posterior"], key=row["posterior"].get) == row["emotion"]
        assert row["box"] == [0, 0, 48, 48]
    assert "left out" in written.err
    assert "notes.txt" in written.err


def test_classify_writes_csv(faces: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["classify", str(faces), "--already-cropped", "--csv"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert len(rows) == 3
    assert sum(float(rows[0][emotion]) for emotion in EMOTIONS) == pytest.approx(1, abs=1e-4)
    assert rows[0]["width"] == "48.0"


def test_classify_finds_faces_and_shows_a_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Image.fromarray(cartoon(300)).save(tmp_path / "drawn.png")
    assert main(["classify", str(tmp_path / "drawn.png")]) == 0
    table = capsys.readouterr().out
    assert "probability" in table
    assert any(emotion in table for emotion in EMOTIONS)


def test_without_a_face_it_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Image.new("RGB", (300, 300)).save(tmp_path / "grey.png")
    assert main(["classify", str(tmp_path / "grey.png"), "--json"]) == 1
    written = capsys.readouterr()
    assert json.loads(written.out) == []
    assert "no face was found" in written.err


def test_retrieve_finds_what_a_search_finds(faces: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["retrieve", str(faces / "0.png"), "--already-cropped", "-k", "4", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["rank"] for row in rows] == [1, 2, 3, 4]
    distances = [row["distance"] for row in rows]
    assert distances == sorted(distances)
    gallery = load_bundle(default_bundle()).gallery
    assert all(gallery.get(row["id"]).emotion == row["emotion"] for row in rows)


def test_retrieve_writes_csv_and_a_table(faces: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["retrieve", str(faces / "1.png"), "--already-cropped", "-k", "2"]
    assert main([*arguments, "--csv"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert json.loads(rows[0]["metadata"])["dataset"] == "FER+"
    assert main(arguments) == 0
    assert rows[0]["id"] in capsys.readouterr().out


def test_retrieve_refuses_what_cannot_be(faces: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["retrieve", str(faces / "0.png"), "-k", "0"]) == 1
    assert "k should be from 1" in capsys.readouterr().err
    assert main(["retrieve", str(faces / "missing.png")]) == 1
    assert "left out" in capsys.readouterr().err
