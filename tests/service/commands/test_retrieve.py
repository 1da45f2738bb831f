"""``mien retrieve``: matches without a server."""

import csv
import io
import json
from pathlib import Path

import pytest
from PIL import Image

from mien.index.bundle.bundle import Bundle
from mien.service.commands.main import main
from tests.support.faces import MakeFaces


@pytest.fixture
def faces(tmp_path: Path, make_faces: MakeFaces) -> Path:
    """A folder with two face crops."""
    folder = tmp_path / "faces"
    folder.mkdir()
    for row, crop in enumerate(make_faces(2).images):
        Image.fromarray(crop).save(folder / f"{row}.png")
    return folder


def test_matches_come_from_the_gallery_nearest_first(
    faces: Path, capsys: pytest.CaptureFixture[str], shipped_bundle: Bundle
) -> None:
    assert main(["retrieve", str(faces / "0.png"), "--already-cropped", "-k", "4", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["rank"] for row in rows] == [1, 2, 3, 4]
    distances = [row["distance"] for row in rows]
    assert distances == sorted(distances)
    gallery = shipped_bundle.gallery
    assert all(gallery.get(row["id"]).emotion == row["label"] for row in rows if row["id"] in gallery)


def test_csv_and_table_have_a_row_for_each_match(faces: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["retrieve", str(faces / "1.png"), "--already-cropped", "-k", "2"]
    assert main([*arguments, "--csv"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert json.loads(rows[0]["metadata"])["dataset"] == "FER+"
    assert main(arguments) == 0
    assert rows[0]["id"] in capsys.readouterr().out


def test_k_out_of_range_and_missing_file_are_errors(faces: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["retrieve", str(faces / "0.png"), "-k", "0"]) == 1
    assert "k must be a whole number from 1" in capsys.readouterr().err
    assert main(["retrieve", str(faces / "missing.png")]) == 1
    assert "left out" in capsys.readouterr().err
