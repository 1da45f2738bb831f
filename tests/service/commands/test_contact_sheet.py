"""The contact sheet of mien retrieve."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mien.index.errors import QueryError
from mien.model.faces.reader import whole_face
from mien.service.answers.faces import FoundMatch, MatchedFace
from mien.service.commands.contact_sheet import contact_sheet
from mien.service.commands.main import main
from mien.service.inference.engine import Engine
from tests.support.cartoon import cartoon


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "photographs" / "anna.png"
    path.parent.mkdir()
    Image.fromarray(cartoon(300)).save(path)
    return path


def cell(sheet: Path, column: int, line: int = 0) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """The face (144, 144, 3) at a place of the sheet."""
    x, y = 12 + column * 156, 12 + line * 184
    with Image.open(sheet) as image:
        return np.asarray(image)[y : y + 144, x : x + 144]


def test_sheet_shows_the_query_and_portraits(picture: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sheet = tmp_path / "sheet.png"
    assert main(["retrieve", str(picture), "-k", "12", "--contact-sheet", str(sheet), "--json"]) == 0
    with Image.open(sheet) as image:
        assert image.size == (12 + 11 * 156, 12 + 2 * 184)
    filled = [(column, line) for line in range(2) for column in range(11) if cell(sheet, column, line).std() > 10]
    assert filled == [(column, 0) for column in range(11)] + [(1, 1), (2, 1)]


def test_sheet_shows_thumbnails_of_the_gallery(
    picture: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    gallery, sheet = tmp_path / "gallery", tmp_path / "sheet.png"
    monkeypatch.setenv("MIEN_GALLERY_THUMBNAILS", "true")
    assert main(["gallery", "import", str(picture.parent), "--gallery", str(gallery)]) == 0
    assert main(["retrieve", str(picture), "--gallery", str(gallery), "--contact-sheet", str(sheet)]) == 0
    assert "anna.png" in capsys.readouterr().out
    query, thumbnail = (cell(sheet, column).astype(float) for column in (0, 1))
    assert np.abs(query.mean(axis=2) - thumbnail.mean(axis=2)).mean() < 12, "the same face: query and thumbnail"
    assert np.ptp(thumbnail, axis=2).mean() > 10, "in colour"
    assert cell(sheet, 2).std() == 0, "the gallery has one face"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--contact-sheet", "sheet.jpg"], "ends in .png, got sheet.jpg"),
        (["--contact-sheet", "sheet.png", "-k", "201"], "at most 200 matches of a face, got k=201"),
        (["--gallery", "nowhere"], "got nowhere, which is not there"),
    ],
)
def test_wrong_options_are_one_sentence(
    picture: Path, options: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["retrieve", str(picture), *options]) == 1
    assert words in " ".join(capsys.readouterr().err.split())
    assert not Path("nowhere").exists()


@pytest.mark.parametrize(
    ("faces", "k", "words"), [(50, 200, "50 faces need 1000: ask for -k 30 or less"), (160, 1, "cut")]
)
def test_a_sheet_of_many_faces_stays_small(served_engine: Engine, faces: int, k: int, words: str) -> None:
    match = FoundMatch(id="x", distance=0.0, emotion="fear", metadata={})
    fields: dict[str, Any] = {"emotion": "fear", "matches": [match] * k}
    answer = MatchedFace.model_construct(**fields)
    face = whole_face(cartoon(100))
    with pytest.raises(QueryError, match=words):
        contact_sheet(served_engine, [face] * faces, [answer] * faces)
