"""The embedded gallery beyond the contract: folders, processes, kills, full disks, broken files, versions."""

import multiprocessing
import os
import resource
import shutil
import sqlite3
from pathlib import Path

import numpy as np
import pytest

from mien.index.errors import GalleryError, GalleryFullError
from mien.index.gallery.embedded.folder import DATABASE, IVF, VECTORS
from mien.index.gallery.embedded.gallery import EmbeddedGallery, open_embedded_gallery
from mien.index.gallery.filters import parse_filter
from mien.index.gallery.store import SearchOptions, every_face
from mien.index.gallery.vectors.policy import IndexPolicy
from tests.support.data import ROOT
from tests.support.gallery_implementations import EMBEDDER, SIZE, face, random_faces
from tests.support.gallery_killing import kill_rounds
from tests.support.waiting import wait_until

GOLDEN = ROOT / "tests" / "data" / "gallery_1"
ORIGIN = np.zeros((1, SIZE), dtype=np.float32)


def open_gallery(folder: Path, **options: object) -> EmbeddedGallery:
    return open_embedded_gallery(folder, SIZE, EMBEDDER, **options)  # type: ignore[arg-type]


def nearest_ids(gallery: EmbeddedGallery, k: int = 1000, options: SearchOptions | None = None) -> list[str]:
    (matches,) = gallery.search(ORIGIN, k, options or SearchOptions()).matches
    return [match.face.id for match in matches]


@pytest.mark.system
def test_killed_process_loses_no_write(tmp_path: Path) -> None:
    tally = kill_rounds(tmp_path / "gallery", rounds=20)
    assert tally.acknowledged > 10, "a busy machine gets less far before it is killed"
    assert (tally.lost, tally.resurrected, tally.disagreements) == (0, 0, 0), tally


class TestProcesses:
    def test_writes_of_others_are_found_within_a_second(self, tmp_path: Path) -> None:
        """Two open galleries of one process share as little as two processes."""
        one, other = open_gallery(tmp_path / "g"), open_gallery(tmp_path / "g")
        one.add(random_faces(30))
        wait_until(lambda: other.count() == 30, 1.0)
        assert other.count(parse_filter({"label": "fear"})) == 10
        one.delete(["face-00001"])
        one.update("face-00000", {"label": "anger"})
        one.add([face("face-00002", 0.001)], replace=True)
        wait_until(lambda: other.count() == 29 and nearest_ids(other, 1) == ["face-00002"], 1.0)
        assert other.count(parse_filter({"label": "anger"})) == 1
        assert nearest_ids(other) == nearest_ids(one)
        other.add([face("from other", 0.0001)])
        wait_until(lambda: nearest_ids(one, 1) == ["from other"], 1.0)
        one.snapshot(tmp_path / "snapshot")
        one.delete_where(parse_filter({"not": {"id": "from other"}}))
        other.restore(tmp_path / "snapshot")
        wait_until(lambda: one.count() == 30, 1.0)
        one.close()
        other.close()

    def test_write_sees_what_others_wrote_just_before(self, tmp_path: Path) -> None:
        one, other = open_gallery(tmp_path / "g"), open_gallery(tmp_path / "g")
        for number in range(30):
            (one, other)[number % 2].add([face(f"f{number}", number)])
            assert len(nearest_ids((one, other)[number % 2])) == number + 1
        assert other.delete_where(parse_filter({"id": {"in": ["f28", "f29"]}})) == 2
        one.close()
        other.close()

    def test_writes_of_another_process_are_found(self, tmp_path: Path) -> None:
        store = open_gallery(tmp_path / "g")
        context = multiprocessing.get_context("forkserver")
        process = context.Process(target=_add_in_another_process, args=(tmp_path / "g",))
        process.start()
        process.join(60)
        assert process.exitcode == 0
        wait_until(lambda: nearest_ids(store) == ["from another process"], 1.0)
        store.close()

    def test_gallery_opened_alone_refuses_others(self, tmp_path: Path) -> None:
        store = open_gallery(tmp_path / "g", alone=True)
        with pytest.raises(GalleryError, match="another process holds"):
            open_gallery(tmp_path / "g")
        store.close()
        store = open_gallery(tmp_path / "g")
        with pytest.raises(GalleryError, match="cannot be opened alone"):
            open_gallery(tmp_path / "g", alone=True)
        store.close()


def _add_in_another_process(folder: Path) -> None:
    store = open_gallery(folder)
    store.add([face("from another process")])
    store.close()


class TestFolders:
    def test_gallery_of_another_network_is_refused(self, tmp_path: Path) -> None:
        open_gallery(tmp_path / "g").close()
        with pytest.raises(GalleryError, match="two networks"):
            open_embedded_gallery(tmp_path / "g", SIZE, "cd" * 32)
        with pytest.raises(GalleryError, match="8 dimensions"):
            open_embedded_gallery(tmp_path / "g", SIZE + 1, EMBEDDER)

    def test_newer_version_is_refused(self, tmp_path: Path) -> None:
        open_gallery(tmp_path / "g").close()
        connection = sqlite3.connect(tmp_path / "g" / DATABASE)
        connection.execute("PRAGMA user_version=2")
        connection.close()
        with pytest.raises(GalleryError, match="format version 2, this version of mien reads 1"):
            open_gallery(tmp_path / "g")

    def test_folder_of_something_else_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("x")
        with pytest.raises(GalleryError, match="cannot be the folder"):
            open_gallery(tmp_path / "file")
        with pytest.raises(GalleryError, match="something else"):
            open_gallery(tmp_path)
        (tmp_path / "g").mkdir()
        sqlite3.connect(tmp_path / "g" / DATABASE).close()
        with pytest.raises(GalleryError, match="not the database of a gallery"):
            open_gallery(tmp_path / "g")
        (tmp_path / "g" / DATABASE).write_bytes(b"no database at all" * 100)
        with pytest.raises(GalleryError, match="fails"):
            open_gallery(tmp_path / "g")

    def test_closed_gallery_raises(self, tmp_path: Path) -> None:
        store = open_gallery(tmp_path / "g")
        store.close()
        store.close()
        with pytest.raises(GalleryError, match="closed"):
            store.get("a")

    def test_gallery_of_version_1_loads(self, tmp_path: Path) -> None:
        shutil.copytree(GOLDEN, tmp_path / "g")
        store = open_gallery(tmp_path / "g")
        assert not store.remarks
        expected = random_faces(20)
        assert [each.id for each in every_face(store)] == [each.id for each in expected if each.id != "face-00003"]
        stored = store.get("face-00007")
        np.testing.assert_allclose(stored.embedding, expected[7].embedding, rtol=1e-6)
        assert stored.metadata == expected[7].metadata
        assert stored.time == expected[7].time
        assert store.get("face-00001").thumbnail == b"a picture"
        assert store.get("face-00001").label == "surprise"
        assert len(nearest_ids(store)) == 19
        store.close()


class TestVectorsFile:
    def test_restart_reads_it_and_later_changes(self, tmp_path: Path) -> None:
        store = open_gallery(tmp_path / "g")
        store.add(random_faces(50))
        store.save()
        store.add([face("later", 0.01)])
        store.delete(["face-00001"])
        store.update("face-00002", {"label": "anger"})
        nearest = nearest_ids(store)
        store.close()
        store = open_gallery(tmp_path / "g")
        assert nearest_ids(store) == nearest
        assert store.count(parse_filter({"label": "anger"})) == 1
        assert not store.remarks
        assert store.check()["memory_agrees_with_database"]
        store.close()

    @pytest.mark.parametrize("damage", ["cut", "byte", "empty", "noise", "version"])
    def test_damaged_file_is_rebuilt_with_a_remark(self, tmp_path: Path, damage: str) -> None:
        store = open_gallery(tmp_path / "g")
        store.add(random_faces(50))
        store.save()
        store.close()
        path = tmp_path / "g" / VECTORS
        whole = path.read_bytes()
        flipped = whole[:-5] + bytes([whole[-5] ^ 1]) + whole[-4:]
        newer = whole.replace(b'"format_version": 1', b'"format_version": 9', 1)
        cut = whole[: len(whole) // 2]
        path.write_bytes(
            {"cut": cut, "byte": flipped, "empty": b"", "noise": os.urandom(9000), "version": newer}[damage]
        )
        store = open_gallery(tmp_path / "g")
        assert "rebuilt from gallery.sqlite" in store.remarks[0]
        assert sorted(nearest_ids(store)) == [each.id for each in random_faces(50)]
        assert store.check()["memory_agrees_with_database"]
        store.close()

    def test_file_of_another_gallery_is_not_used(self, tmp_path: Path) -> None:
        for name, count in (("one", 5), ("other", 9)):
            store = open_gallery(tmp_path / name)
            store.add(random_faces(count))
            store.save()
            store.close()
        shutil.copy(tmp_path / "one" / VECTORS, tmp_path / "other" / VECTORS)
        store = open_gallery(tmp_path / "other")
        assert len(nearest_ids(store)) == 9
        store.close()


def _fill_until_refused(folder: Path, pipe: object) -> None:
    """Add faces in a process whose files may not grow beyond a limit, which SQLite treats like a full disk."""
    import signal

    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    store = open_gallery(folder)
    resource.setrlimit(resource.RLIMIT_FSIZE, (600_000, 600_000))
    acknowledged: list[str] = []
    try:
        for number in range(10_000):
            names = [f"f{number}-{row}" for row in range(20)]
            store.add([face(name, 1.0, metadata={"filling": "x" * 500}) for name in names])
            acknowledged += names
    except GalleryFullError as error:
        pipe.send((acknowledged, str(error), len(nearest_ids(store, 100_000)), store.count()))  # type: ignore[attr-defined]
    os._exit(0)


def test_full_disk_refuses_the_write_and_keeps_earlier_ones(tmp_path: Path) -> None:
    context = multiprocessing.get_context("forkserver")
    receiving, sending = context.Pipe(duplex=False)
    process = context.Process(target=_fill_until_refused, args=(tmp_path / "g", sending))
    process.start()
    assert receiving.poll(60)
    acknowledged, message, searched, counted = receiving.recv()
    process.join()
    assert "no space is left" in message
    assert acknowledged
    assert searched == counted == len(acknowledged)
    store = open_gallery(tmp_path / "g")
    assert sorted(each.id for each in every_face(store)) == sorted(acknowledged)
    assert sorted(nearest_ids(store, 100_000)) == sorted(acknowledged)
    store.add([face("after the full disk", 0.0)])
    assert nearest_ids(store, 1) == ["after the full disk"]
    store.close()


class TestIndex:
    def test_added_and_deleted_faces_are_merged_in_the_background(self, tmp_path: Path) -> None:
        store = open_gallery(tmp_path / "g", policy=IndexPolicy(growing=50, growing_share=0.0))
        faces = random_faces(400)
        for start in range(0, 400, 20):
            store.add(faces[start : start + 20])
            store.delete([faces[start].id])
            assert len(nearest_ids(store)) == start + 20 - (start // 20 + 1)
        store.wait_for_index()
        report = store.check()
        assert report["memory_agrees_with_database"]
        assert report["growing"] <= 50
        assert store.count(parse_filter({"metadata.flash": True})) == sum(
            each.metadata["flash"] for row, each in enumerate(faces) if row % 20
        )
        store.close()

    def test_inverted_lists_are_built_by_size_and_always_return_k(self, tmp_path: Path) -> None:
        policy = IndexPolicy(kind="auto", exact_up_to=2000)
        store = open_gallery(tmp_path / "g", policy=policy)
        faces = random_faces(6000)
        store.add(faces[:1000])
        store.wait_for_index()
        assert store.check()["index"] == "exact"
        store.add(faces[1000:])
        wait_until(lambda: store.ivf is not None, 60)
        store.wait_for_index()
        report = store.check()
        assert report["index"] == "ivf"
        assert report["recall_at_10"] >= 0.95
        assert len(nearest_ids(store, 6000)) == 6000
        rare = parse_filter({"metadata.row": {"in": [5, 50, 500]}})
        assert len(nearest_ids(store, 3, SearchOptions(filter=rare))) == 3
        most = parse_filter({"not": {"metadata.row": 5}})
        assert len(nearest_ids(store, 100, SearchOptions(filter=most))) == 100
        store.add([face("just added", 0.0)])
        assert nearest_ids(store, 1) == ["just added"]
        store.delete(["just added"])
        assert "just added" not in nearest_ids(store, 10)
        store.add([face("in the growing segment", 0.0)])
        store.save()
        nprobe = store.ivf.nprobe if store.ivf is not None else 0
        store.close()
        store = open_gallery(tmp_path / "g", policy=policy)
        assert store.ivf is not None, "they are loaded at once"
        assert store.ivf.nprobe == nprobe
        assert nearest_ids(store, 1) == ["in the growing segment"]
        assert store.check()["recall_at_10"] >= 0.95
        store.close()
        (tmp_path / "g" / IVF).write_bytes(b"broken")
        store = open_gallery(tmp_path / "g", policy=policy)
        assert "the inverted lists are built again" in store.remarks[0]
        assert len(nearest_ids(store, 6001)) == 6001
        wait_until(lambda: store.ivf is not None, 60)
        store.close()


def write_golden() -> None:
    """Write ``tests/data/gallery_1``. Not to be run again for version 1: the files show that old galleries load."""
    store = open_gallery(GOLDEN)
    faces = random_faces(20)
    store.add([face("face-00001", 5, thumbnail=b"a picture")])
    store.add([*faces[:1], *faces[2:]])
    store.add([face("face-00001", faces[1].embedding, label="surprise", thumbnail=b"a picture")], replace=True)
    store.save()
    store.delete(["face-00003"])
    store.close()
