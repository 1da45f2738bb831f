"""``mien classify``: emotions without a server."""

import csv
import io
import json
from pathlib import Path

import pytest
from PIL import Image

from mien.model.emotions import EMOTIONS
from mien.service.commands.main import main
from tests.support.cartoon import cartoon
from tests.support.faces import MakeFaces


@pytest.fixture
def faces(tmp_path: Path, make_faces: MakeFaces) -> Path:
    """A folder with three face crops and a text file."""
    folder = tmp_path / "faces"
    folder.mkdir()
    for row, crop in enumerate(make_faces(3).images):
        Image.fromarray(crop).save(folder / f"{row}.png")
    (folder / "notes.txt").write_text("no picture")
    return folder


def test_json_has_a_row_for_each_face(faces: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["classify", str(faces), "--already-cropped", "--json"]) == 0
    output = capsys.readouterr()
    rows = json.loads(output.out)
    assert [row["path"] for row in rows] == [str(faces / f"{number}.png") for number in range(3)]
    for row in rows:
        assert tuple(row["posterior"]) == EMOTIONS
        assert max(row["posterior"], key=row["posterior"].get) == row["emotion"]
        assert row["box"] == [0, 0, 48, 48]
    assert "left out" in output.err
    assert "notes.txt" in output.err


def test_csv_has_a_column_for_each_number(faces: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["classify", str(faces), "--already-cropped", "--csv"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert len(rows) == 3
    assert sum(float(rows[0][emotion]) for emotion in EMOTIONS) == pytest.approx(1, abs=1e-4)
    assert rows[0]["width"] == "48.0"


def test_faces_are_found_and_shown_in_a_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Image.fromarray(cartoon(300)).save(tmp_path / "drawn.png")
    assert main(["classify", str(tmp_path / "drawn.png")]) == 0
    table = capsys.readouterr().out
    assert "probability" in table
    assert any(emotion in table for emotion in EMOTIONS)


def test_image_without_a_face_is_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Image.new("RGB", (300, 300)).save(tmp_path / "grey.png")
    assert main(["classify", str(tmp_path / "grey.png"), "--json"]) == 1
    output = capsys.readouterr()
    assert json.loads(output.out) == []
    assert "no face was found" in output.err


def test_prior_can_be_chosen(faces: Path, capsys: pytest.CaptureFixture[str]) -> None:
    posteriors = {}
    for prior in ("uniform", "data"):
        assert main(["classify", str(faces), "--already-cropped", "--json", "--prior", prior]) == 0
        posteriors[prior] = [row["posterior"] for row in json.loads(capsys.readouterr().out)]
    assert posteriors["uniform"] != posteriors["data"]
