"""Ids of new faces: in normal form C, and without characters that show nothing."""

from pathlib import Path

import pytest

from mien.index.errors import FaceFieldError
from mien.index.gallery.embedded.database import GalleryDatabase
from mien.index.gallery.embedded.folder import DATABASE
from mien.index.gallery.embedded.gallery import open_embedded_gallery
from mien.index.gallery.validation import new_id
from tests.support.gallery_implementations import EMBEDDER, SIZE, face

COMPOSED, DECOMPOSED = "caf\u00e9", "cafe\u0301"


@pytest.mark.parametrize(
    "face_id",
    ["\u200b", "a\u200b", "\u2060a", "a\u00ad", "a\u202eb", "\ufeffa", "\u3164", "\u2800", "a\ufe0f", "a\u200db",
     "é\u200d", "a\U000e0041", "\u200d", "é\u200d\u200dé", "a\u034f"],
)  # fmt: skip
def test_id_with_an_invisible_character_is_refused(face_id: str) -> None:
    with pytest.raises(FaceFieldError, match="has the invisible character"):
        new_id(face_id)


@pytest.mark.parametrize(
    "face_id",
    ["a b", "日本語", "\u0645\u06cc\u200c\u062e\u0648", "क्\u200dष", "👨\u200d👩\u200d👧.png", "❤\ufe0f.png",
     "❤\ufe0f\u200d🔥", "1\u202fPM.png"],
)  # fmt: skip
def test_id_of_any_script_is_taken(face_id: str) -> None:
    assert new_id(face_id) == face_id


def test_ids_that_look_the_same_are_the_same(tmp_path: Path) -> None:
    store = open_embedded_gallery(tmp_path / "g", SIZE, EMBEDDER)
    assert store.add([face(DECOMPOSED)]).added == (COMPOSED,)
    assert store.add([face(COMPOSED)]).unchanged == (COMPOSED,)
    assert store.get(DECOMPOSED).id == COMPOSED
    assert store.update(DECOMPOSED, {"label": "fear"}).id == COMPOSED
    with pytest.raises(FaceFieldError, match="occurs twice"):
        store.add([face(COMPOSED), face(DECOMPOSED)])
    assert store.delete([DECOMPOSED, "unknown"]) == (DECOMPOSED,)
    assert store.count() == 0
    store.close()


def test_ids_of_older_galleries_stay_reachable(tmp_path: Path) -> None:
    store = open_embedded_gallery(tmp_path / "g", SIZE, EMBEDDER)
    store.add([face("old", 1), face("hidden", 2)])
    store.close()
    database = GalleryDatabase(tmp_path / "g" / DATABASE)
    with database.writing() as connection:
        connection.execute("UPDATE faces SET id = ? WHERE id = 'old'", (DECOMPOSED,))
        connection.execute("UPDATE faces SET id = ? WHERE id = 'hidden'", ("a\u200b",))
    database.close()
    store = open_embedded_gallery(tmp_path / "g", SIZE, EMBEDDER)
    store.add([face(COMPOSED, 3)])
    assert store.get(DECOMPOSED).id == DECOMPOSED
    assert store.get(COMPOSED).id == COMPOSED
    assert store.update("a\u200b", {"label": "fear"}).label == "fear"
    assert store.delete([DECOMPOSED, "a\u200b"]) == (DECOMPOSED, "a\u200b")
    assert store.count() == 1
    store.close()
