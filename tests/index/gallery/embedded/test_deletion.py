"""What was deleted is gone from every file of the folder; deleting works on a full disk; the folder is private."""

import os
import shutil
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from mien.index.errors import GalleryError
from mien.index.gallery.embedded import maintenance
from mien.index.gallery.embedded.database import GalleryDatabase
from mien.index.gallery.embedded.folder import DATABASE, RESERVE, RESERVE_BYTES, VECTORS
from mien.index.gallery.embedded.gallery import EmbeddedGallery, open_embedded_gallery
from mien.index.gallery.filters import parse_filter
from tests.support.data import ROOT
from tests.support.gallery_implementations import EMBEDDER, SIZE, face, random_faces
from tests.support.waiting import wait_until

SECRETS = (b"secret-id", b"secret subject", b"secret metadata", b"secret picture")


def open_gallery(folder: Path) -> EmbeddedGallery:
    return open_embedded_gallery(folder, SIZE, EMBEDDER)


def add_secrets(gallery: EmbeddedGallery, count: int = 1) -> None:
    gallery.add(random_faces(50))
    gallery.add(
        [
            face(
                f"secret-id-{number}",
                2.5 + number,
                subject="secret subject",
                metadata={"note": "secret metadata", "long": "x" * 9000},
                thumbnail=b"secret picture" * 700,
            )
            for number in range(count)
        ]
    )


def found(folder: Path, wanted: tuple[bytes, ...] = SECRETS) -> set[str]:
    """The files of a folder in which a text is found."""
    contents = {path.name: path.read_bytes() for path in folder.iterdir() if path.name != RESERVE}
    return {name for name, content in contents.items() if any(text in content for text in wanted)}


@pytest.mark.parametrize("way", ["ids", "subject", "filter"])
def test_deleted_person_is_in_no_file(tmp_path: Path, way: str) -> None:
    with closing(open_gallery(tmp_path / "g")) as gallery:
        add_secrets(gallery, 3)
        assert found(tmp_path / "g"), "the test can fail"
        if way == "ids":
            assert len(gallery.delete([f"secret-id-{number}" for number in range(3)])) == 3
        else:
            field = {"subject": "secret subject"} if way == "subject" else {"metadata.note": "secret metadata"}
            assert gallery.delete_where(parse_filter(field)) == 3
        assert not found(tmp_path / "g"), "at once, and while it is served"
        assert gallery.count() == 50


def test_replaced_and_changed_fields_are_in_no_file_soon(tmp_path: Path) -> None:
    with closing(open_gallery(tmp_path / "g")) as gallery:
        add_secrets(gallery, 2)
        gallery.add([face("secret-id-0", 7)], replace=True)
        gallery.update("secret-id-1", {"subject": None, "metadata": {"note": None, "long": None}})
        wait_until(lambda: not found(tmp_path / "g", (b"secret subject", b"secret metadata")))


def test_restore_leaves_nothing_of_before(tmp_path: Path) -> None:
    with closing(open_gallery(tmp_path / "g")) as gallery:
        gallery.snapshot(tmp_path / "empty")
        add_secrets(gallery)
        gallery.restore(tmp_path / "empty")
        assert not found(tmp_path / "g")


def test_reader_delays_it_until_the_reader_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(maintenance, "_SCRUB_AGAIN_S", 0.3)
    with closing(open_gallery(tmp_path / "g")) as gallery:
        add_secrets(gallery)
        pages = gallery.pages()
        next(pages)  # reads one moment, of before
        gallery.delete(["secret-id-0"])
        assert found(tmp_path / "g") >= {f"{DATABASE}-wal"}
        pages.close()  # type: ignore[attr-defined]
        wait_until(lambda: not found(tmp_path / "g"))


def test_log_of_a_killed_process_is_removed_by_the_next(tmp_path: Path) -> None:
    program = (
        "import os, pathlib, sys; from tests.index.gallery.embedded import test_deletion as t;"
        "g = t.open_gallery(pathlib.Path(sys.argv[1])); t.add_secrets(g); g._database.scrub = lambda: None;"
        "g._database.to_scrub = False; g.delete(['secret-id-0']); os._exit(0)"
    )
    subprocess.run([sys.executable, "-c", program, tmp_path / "g"], cwd=ROOT, check=True)
    assert found(tmp_path / "g") >= {f"{DATABASE}-wal"}
    with closing(open_gallery(tmp_path / "g")):
        wait_until(lambda: not found(tmp_path / "g"))


def test_deleted_embedding_leaves_the_vectors_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(maintenance, "_SAVE_AGAIN_S", 0.1)
    folder = tmp_path / "g"
    secret = (np.arange(SIZE, dtype="<f4") + 0.123).tobytes()
    with closing(open_gallery(folder)) as gallery:
        gallery.add([*random_faces(20), face("a", np.frombuffer(secret, "<f4"))])
        gallery.save()
        assert found(folder, (secret,)) >= {VECTORS}
        gallery.delete(["a"])
        wait_until(lambda: not found(folder, (secret,)))
        gallery.add([face("b", np.frombuffer(secret, "<f4"))])
        gallery.save()
    monkeypatch.setattr(maintenance, "_SAVE_AGAIN_S", 1000.0)
    with closing(open_gallery(folder)) as gallery:
        assert not gallery.remarks
        gallery.delete(["b"])
    assert not found(folder, (secret,)), "at the latest when it is closed"


def test_folder_and_files_are_private(tmp_path: Path) -> None:
    old = os.umask(0o022)
    try:
        folder = tmp_path / "g"
        folder.mkdir(mode=0o755)
        with closing(open_gallery(folder)) as gallery:
            gallery.add(random_faces(5))
            gallery.save()
            assert folder.stat().st_mode & 0o777 == 0o700
            assert len(list(folder.iterdir())) >= 5
            assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}
        folder.chmod(0o755)
        for path in folder.iterdir():
            path.chmod(0o644)
        with closing(open_gallery(folder)):
            assert folder.stat().st_mode & 0o777 == 0o700
            assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}
    finally:
        os.umask(old)


def test_database_that_is_removed_while_it_is_open_is_noticed(tmp_path: Path) -> None:
    with closing(open_gallery(tmp_path / "g")) as gallery:
        gallery.add([face("a")])
        gallery.check_open()
        (tmp_path / "g" / DATABASE).rename(tmp_path / "aside")
        for action in (
            gallery.check_open,
            lambda: gallery.add([face("lost")]),
            lambda: gallery.get("a"),
            lambda: gallery.search(np.zeros((1, SIZE), np.float32), 1),
        ):
            with pytest.raises(GalleryError, match="was removed or replaced"):
                action()
        shutil.copy(tmp_path / "aside", tmp_path / "g" / DATABASE)
        with pytest.raises(GalleryError, match="was removed or replaced"):
            gallery.add([face("lost")])
        (tmp_path / "aside").rename(tmp_path / "g" / DATABASE)
        gallery.add([face("kept")])
    with closing(open_gallery(tmp_path / "g")) as gallery:
        assert gallery.count() == 2


FULL_DISK = """
import os, pathlib, sys
from mien.index.errors import GalleryFullError
from mien.index.gallery.filters import parse_filter
from tests.index.gallery.embedded.test_deletion import RESERVE, RESERVE_BYTES, face, open_gallery
folder = pathlib.Path(sys.argv[1]) / "g"
gallery = open_gallery(folder)
number, refused = 0, False
while not refused:
    faces = [face(f"f{number}-{row}", 1.0, subject=f"s{row % 10}", metadata={"x": "x" * 500}, thumbnail=b"p" * 3000)
             for row in range(100)]
    try:
        gallery.add(faces)
        number += 1
    except GalleryFullError:
        refused = True
count = gallery.count()
file = (folder.parent / "filling").open("wb", buffering=0)
try:
    while file.write(bytes(4096)) == 4096:
        pass
except OSError:
    pass
assert os.statvfs(folder).f_bavail == 0
deleted = gallery.delete([f"f0-{row}" for row in range(100)])
assert len(deleted) == 100, len(deleted)
assert gallery.count() == count - 100
assert gallery.delete_where(parse_filter({"subject": "s3"})) == count // 10 - 10
print(count)
(folder.parent / "filling").unlink()
gallery.delete(["f1-1"])
assert (folder / RESERVE).stat().st_blocks * 512 >= RESERVE_BYTES
gallery.add([face("again")])
assert gallery.check(1)["memory_agrees_with_database"]
gallery.close()
"""


def test_deleting_works_on_a_full_disk(tmp_path: Path) -> None:
    """On a file system of 24 MB that is full to the last block."""
    mount = f"mount -t tmpfs -o size=24m none {tmp_path}"
    alone = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c"]
    if shutil.which("unshare") is None or subprocess.run([*alone, mount], check=False).returncode != 0:
        pytest.skip("this machine lets nobody mount a file system")
    command = f"{mount} && exec {sys.executable} -c '{FULL_DISK}' {tmp_path}"
    done = subprocess.run([*alone, command], cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 1000


def test_scrub_of_a_closed_database_is_refused(tmp_path: Path) -> None:
    open_gallery(tmp_path / "g").close()
    database = GalleryDatabase(tmp_path / "g" / DATABASE)
    database.close()
    with pytest.raises(GalleryError, match="closed"):
        database.scrub()


def test_reserve_has_its_size(tmp_path: Path) -> None:
    with closing(open_gallery(tmp_path / "g")):
        assert (tmp_path / "g" / RESERVE).stat().st_size == RESERVE_BYTES
