"""A snapshot is restored whole or not at all, and is never written to."""

import json
import random
import resource
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from mien.index.errors import GalleryError
from mien.index.gallery.embedded.folder import DATABASE
from mien.index.gallery.embedded.gallery import EmbeddedGallery, open_embedded_gallery
from mien.index.gallery.embedded.snapshots import SNAPSHOT
from mien.index.gallery.migrate import migrate
from mien.index.gallery.store import every_face
from tests.support.gallery_implementations import EMBEDDER, SIZE, face, random_faces


def open_gallery(folder: Path) -> EmbeddedGallery:
    return open_embedded_gallery(folder, SIZE, EMBEDDER)


@pytest.fixture
def snapshot(tmp_path: Path) -> Path:
    """A snapshot of thirty faces, one with a thumbnail."""
    with closing(open_gallery(tmp_path / "origin")) as gallery:
        gallery.add([*random_faces(29), face("pictured", 3, thumbnail=b"a picture")])
        gallery.delete(["face-00002"])
        gallery.add(random_faces(3)[2:])
        assert gallery.snapshot(tmp_path / "kept") == 30
    return tmp_path / "kept"


@pytest.fixture
def gallery(tmp_path: Path) -> Iterator[EmbeddedGallery]:
    """Another gallery, with one face."""
    with closing(open_gallery(tmp_path / "g")) as gallery:
        gallery.add([face("own")])
        yield gallery


def content(folder: Path) -> dict[str, tuple[bytes, int]]:
    return {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.iterdir()}


def change(folder: Path, statement: str, *values: object) -> None:
    """Change a snapshot, and make it one of before that has no digest."""
    (folder / SNAPSHOT).unlink(missing_ok=True)
    with closing(sqlite3.connect(folder / DATABASE)) as connection, connection:
        connection.execute(statement, values)


def test_snapshot_says_what_it_has_and_is_never_written_to(gallery: EmbeddedGallery, snapshot: Path) -> None:
    description = json.loads((snapshot / SNAPSHOT).read_bytes())
    assert description["faces"] == 30
    assert description["bytes"] == (snapshot / DATABASE).stat().st_size
    assert {path.name for path in snapshot.iterdir()} == {DATABASE, SNAPSHOT}
    before = content(snapshot)
    assert gallery.restore(snapshot) == 30
    assert gallery.restore(snapshot) == 30, "it can be restored again"
    assert gallery.get("pictured").thumbnail == b"a picture"
    with pytest.raises(GalleryError, match="is a snapshot"):
        open_gallery(snapshot)
    assert migrate(str(snapshot), str(snapshot.parent / "copy"), SIZE, EMBEDDER).added == 30
    assert content(snapshot) == before
    gallery.add([face("later", 1)])
    assert gallery.check()["memory_agrees_with_database"]


def test_snapshot_is_private_and_readable_from_a_folder_that_is_not_writable(
    gallery: EmbeddedGallery, snapshot: Path
) -> None:
    assert snapshot.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in snapshot.iterdir()} == {0o600}
    snapshot.chmod(0o500)
    assert gallery.restore(snapshot) == 30
    snapshot.chmod(0o700)


@pytest.mark.parametrize("seed", range(12))
def test_flipped_bit_is_refused(gallery: EmbeddedGallery, snapshot: Path, seed: int) -> None:
    whole = (snapshot / DATABASE).read_bytes()
    generator = random.Random(seed)  # noqa: S311
    place = generator.randrange(len(whole))
    flipped = bytes([whole[place] ^ (1 << generator.randrange(8))])
    (snapshot / DATABASE).write_bytes(whole[:place] + flipped + whole[place + 1 :])
    with pytest.raises(GalleryError, match="not as it was written"):
        gallery.restore(snapshot)
    assert [each.id for each in every_face(gallery)] == ["own"]
    (snapshot / DATABASE).write_bytes(whole)
    assert gallery.restore(snapshot) == 30


@pytest.mark.parametrize("described", [True, False])
@pytest.mark.parametrize("length", [0, 10, 5000, -1, -4096])
def test_cut_file_is_refused(gallery: EmbeddedGallery, snapshot: Path, length: int, *, described: bool) -> None:
    whole = (snapshot / DATABASE).read_bytes()
    (snapshot / DATABASE).write_bytes(whole[:length])
    if not described:
        (snapshot / SNAPSHOT).unlink()
    with pytest.raises(GalleryError):
        gallery.restore(snapshot)
    assert [each.id for each in every_face(gallery)] == ["own"]
    assert gallery.check()["memory_agrees_with_database"]


@pytest.mark.parametrize(
    ("statement", "value", "message"),
    [
        ("UPDATE faces SET embedding = ? WHERE id = 'face-00020'", b"\0" * 28, "must have 32 bytes, got 28"),
        ("UPDATE faces SET embedding = ? WHERE id = 'face-00020'", np.full(8, np.nan, "<f4").tobytes(), "not finite"),
        ("UPDATE faces SET metadata = ? WHERE id = 'face-00020'", "{", "no JSON object"),
        ("UPDATE faces SET id = ? WHERE id = 'face-00020'", "", "its id is empty"),
        ("UPDATE faces SET id = ? WHERE id = 'face-00020'", "a\0b", "its id has control characters"),
        ("UPDATE faces SET time = ? WHERE id = 'face-00020'", "noon", "its time must be"),
        ("UPDATE faces SET sequence = ? WHERE id = 'face-00020'", 2**60, "its sequence number must be"),
        ("UPDATE gallery SET counter = ?", 3, "its counter must be at least 32, got 3"),
        ("UPDATE gallery SET counter = ?", 2**62, "the description of the gallery"),
        ("UPDATE gallery SET embedding_size = ?", 9, "another network"),
    ],
)
def test_snapshot_of_before_is_refused_with_a_bad_row(
    gallery: EmbeddedGallery, snapshot: Path, statement: str, value: object, message: str
) -> None:
    tmp_path = snapshot.parent
    shutil.copytree(snapshot, tmp_path / "good")
    change(snapshot, statement, value)
    with pytest.raises(GalleryError, match=message):
        gallery.restore(snapshot)
    assert [each.id for each in every_face(gallery)] == ["own"]
    with pytest.raises(GalleryError, match=message):
        migrate(str(snapshot), str(tmp_path / "copy"), SIZE, EMBEDDER)
    assert gallery.restore(tmp_path / "good") == 30


def test_snapshot_of_before_is_restored(gallery: EmbeddedGallery, snapshot: Path) -> None:
    change(snapshot, "UPDATE faces SET label = 'fear' WHERE id = 'face-00020'")
    before = content(snapshot)
    assert gallery.restore(snapshot) == 30
    assert gallery.get("face-00020").label == "fear"
    assert content(snapshot) == before


def test_changed_description_is_refused(gallery: EmbeddedGallery, snapshot: Path) -> None:
    description = json.loads((snapshot / SNAPSHOT).read_bytes())
    for text, message in (
        (json.dumps(description | {"faces": 29}), "must have 29 faces, got 30"),
        (json.dumps(description | {"format_version": 2}), "has format version 2, expected 1"),
        (json.dumps(description | {"faces": "30"}), "is broken"),
        ("{", "is broken"),
        ("[" * 100_000, "is broken"),
    ):
        (snapshot / SNAPSHOT).write_text(text)
        with pytest.raises(GalleryError, match=message):
            gallery.restore(snapshot)
    assert [each.id for each in every_face(gallery)] == ["own"]


def test_folder_of_an_open_gallery_is_restored_with_its_log(gallery: EmbeddedGallery, tmp_path: Path) -> None:
    with closing(open_gallery(tmp_path / "alive")) as alive:
        alive.add(random_faces(5))
        assert gallery.restore(tmp_path / "alive") == 5


def test_snapshot_that_does_not_fit_on_the_disk_leaves_nothing(gallery: EmbeddedGallery, tmp_path: Path) -> None:
    gallery.add([face(f"f{number}", 1, metadata={"filling": "x" * 1000}) for number in range(200)])
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        with pytest.raises(GalleryError):
            gallery.snapshot(tmp_path / "kept")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not list(tmp_path.glob("kept*"))
    assert gallery.snapshot(tmp_path / "kept") == 201
