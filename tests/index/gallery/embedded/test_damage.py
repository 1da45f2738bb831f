"""Rows that cannot be served are set aside, and all others are served."""

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np
import pytest

from mien.index.errors import GalleryDamagedError, GalleryError, UnknownFaceError
from mien.index.gallery.embedded import gallery as embedded
from mien.index.gallery.embedded.folder import DATABASE
from mien.index.gallery.embedded.gallery import EmbeddedGallery, open_embedded_gallery
from mien.index.gallery.filters import parse_filter
from mien.index.gallery.snapshots import DAMAGED, replace_damaged
from mien.index.gallery.store import every_face
from tests.support.gallery_implementations import EMBEDDER, SIZE, face, random_faces
from tests.support.waiting import wait_until

NAN = np.full(SIZE, np.nan, dtype="<f4").tobytes()
SPOILED = "face-00004"


def open_gallery(folder: Path) -> EmbeddedGallery:
    return open_embedded_gallery(folder, SIZE, EMBEDDER)


@contextmanager
def database(folder: Path) -> Iterator[sqlite3.Connection]:
    """The database, changed behind mien's back."""
    with closing(sqlite3.connect(folder / DATABASE)) as connection, connection:
        yield connection


def spoil(folder: Path, column: str, value: object, face_id: str = SPOILED) -> None:
    with database(folder) as connection:
        connection.execute(f"UPDATE faces SET {column} = ? WHERE id = ?", (value, face_id))  # noqa: S608


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A gallery of ten faces that is closed."""
    with closing(open_gallery(tmp_path / "g")) as gallery:
        gallery.add(random_faces(10))
    return tmp_path / "g"


@pytest.mark.parametrize(
    ("column", "value", "fault"),
    [
        ("embedding", bytes(4 * SIZE - 4), "its embedding must have 32 bytes, got 28"),
        ("embedding", b"", "its embedding must have 32 bytes, got 0"),
        ("embedding", "text" * SIZE, "a column has another type"),
        ("embedding", NAN, "its embedding has numbers that are not finite"),
        ("embedding", np.full(SIZE, np.inf, dtype="<f4").tobytes(), "not finite"),
        ("metadata", '{"row": 4', "its metadata is no JSON object"),
        ("metadata", "[1]", "its metadata is no JSON object"),
        ("metadata", "[" * 100_000, "its metadata is no JSON object"),
        ("metadata", b'{"row": 4}', "a column has another type"),
        ("time", "noon", "its time must be seconds since 1970"),
        ("time", float("inf"), "its time must be seconds since 1970"),
        ("label", "", "its label is empty"),
        ("subject", "a\nb", "its subject has control characters"),
        ("content_sha256", "12", "its content_sha256 must have 64 digits"),
        ("sequence", 2**62, "its sequence number must be from 1 to"),
        ("sequence", -3, "its sequence number must be from 1 to"),
    ],
)
def test_damaged_row_is_set_aside_and_the_others_are_served(
    folder: Path, column: str, value: object, fault: str
) -> None:
    spoil(folder, column, value)
    with closing(open_gallery(folder)) as gallery:
        assert len(gallery.remarks) == 1
        assert SPOILED in gallery.remarks[0]
        assert fault in gallery.remarks[0]
        assert gallery.count() == 9
        assert len(list(every_face(gallery))) == 9
        (matches,) = gallery.search(np.zeros((1, SIZE), np.float32), 20).matches
        assert len(matches) == 9
        with pytest.raises(UnknownFaceError):
            gallery.get(SPOILED)
        report = gallery.check()
        assert report["memory_agrees_with_database"]
        assert report["set_aside"] == 1
        assert report["faults"][0]["id"] == SPOILED
        assert fault in report["faults"][0]["fault"]
        gallery.add([face("added", 1)])
    with closing(open_gallery(folder)) as gallery:
        assert not gallery.remarks, "once is enough"
        assert gallery.count() == 10


def test_text_that_is_not_utf8_is_set_aside(folder: Path) -> None:
    with database(folder) as connection:
        connection.execute("UPDATE faces SET id = CAST(x'66ff61' AS TEXT) WHERE id = ?", (SPOILED,))
        connection.execute("UPDATE faces SET metadata = CAST(x'7b2261223a22ff227d' AS TEXT) WHERE id = 'face-00005'")
    with closing(open_gallery(folder)) as gallery:
        assert gallery.count() == 8
        assert "its id is not UTF-8" in gallery.remarks[0]
        assert "its metadata is no JSON object" in gallery.remarks[1]
        assert gallery.check()["faults"][0]["id"] == "f�a"


def test_all_rows_may_be_damaged(folder: Path) -> None:
    with database(folder) as connection:
        connection.execute("UPDATE faces SET embedding = x'00'")
    with closing(open_gallery(folder)) as gallery:
        assert gallery.count() == 0
        assert len(gallery.remarks) == 10
        gallery.add(random_faces(10))
        assert gallery.check()["set_aside"] == 0, "faces that are added again take the place of those set aside"


def test_row_is_set_aside_by_check_while_it_is_served(folder: Path) -> None:
    with closing(open_gallery(folder)) as gallery, closing(open_gallery(folder)) as other:
        spoil(folder, "embedding", NAN)
        assert gallery.check()["set_aside"] == 1
        assert gallery.count() == 9
        wait_until(lambda: other.count() == 9)


def test_many_rows_are_checked_while_they_are_served(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "_CHECKED_AT_ONCE", 5)
    spoil(folder, "metadata", "{")
    spoil(folder, "embedding", b"short", "face-00006")
    spoil(folder, "embedding", NAN, "face-00007")
    with closing(open_gallery(folder)) as gallery:
        (matches,) = gallery.search(np.zeros((1, SIZE), np.float32), 5).matches
        assert np.isfinite([match.distance for match in matches]).all()
        wait_until(lambda: len(gallery.remarks) == 3)
        assert gallery.count() == 7
        (matches,) = gallery.search(np.zeros((1, SIZE), np.float32), 20).matches
        assert len(matches) == 7


def test_deletion_reaches_what_is_set_aside(folder: Path) -> None:
    spoil(folder, "embedding", NAN)
    spoil(folder, "embedding", b"", "face-00003")
    with closing(open_gallery(folder)) as gallery:
        assert gallery.delete([SPOILED, "nobody"]) == (SPOILED,)
        assert gallery.delete_where(parse_filter({"subject": "subject 3"})) == 2
        assert gallery.check()["set_aside"] == 0


def test_counter_behind_its_faces_is_corrected(folder: Path) -> None:
    with database(folder) as connection:
        connection.execute("UPDATE gallery SET counter = 2")
    with closing(open_gallery(folder)) as gallery:
        gallery.add([face("added", 1)])
        assert gallery.count() == 11
        assert gallery.check()["memory_agrees_with_database"]


@pytest.mark.parametrize("change", ["DELETE FROM gallery", "UPDATE gallery SET counter = 'x'"])
def test_description_that_makes_no_sense_is_damage(folder: Path, change: str) -> None:
    with database(folder) as connection:
        connection.execute(change)
    with pytest.raises(GalleryDamagedError, match="is damaged: the description"):
        open_gallery(folder)


def overwrite(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[:4096] + bytes([0x5A]) * (len(content) - 4096))


def test_snapshot_takes_the_place_of_a_database_that_cannot_be_read(folder: Path, tmp_path: Path) -> None:
    with closing(open_gallery(folder)) as gallery:
        gallery.snapshot(tmp_path / "kept")
    overwrite(folder / DATABASE)
    with pytest.raises(GalleryDamagedError):
        open_gallery(folder)
    bad = tmp_path / "bad"
    shutil.copytree(tmp_path / "kept", bad)
    overwrite(bad / DATABASE)
    with pytest.raises(GalleryError, match="not as it was written"):
        replace_damaged(folder, bad, SIZE, EMBEDDER)
    assert not (folder / DAMAGED).exists(), "nothing was changed"
    assert replace_damaged(folder, tmp_path / "kept", SIZE, EMBEDDER) == 10
    assert (folder / DAMAGED).exists()
    with closing(open_gallery(folder)) as gallery:
        assert gallery.count() == 10
        assert gallery.check(thorough=True)["database"] == "ok"
