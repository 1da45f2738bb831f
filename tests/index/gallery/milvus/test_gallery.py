"""The distributed gallery beyond the contract (``test_contract``), on a real server."""

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mien.index.errors import GalleryError, UnknownFaceError
from mien.index.gallery.face import GalleryFace
from mien.index.gallery.filters import parse_filter
from mien.index.gallery.milvus.address import parse_address
from mien.index.gallery.milvus.collection import create_collection
from mien.index.gallery.milvus.connection import MilvusConnection, sequence_of
from mien.index.gallery.milvus.gallery import MilvusGallery, open_milvus_gallery
from mien.index.gallery.milvus.schema import SCHEMA_VERSION, CollectionNote
from mien.index.gallery.store import GalleryStore, SearchOptions, every_face
from mien.index.gallery.validation import MAX_THUMBNAIL_BYTES
from mien.model.errors import ConfigError
from tests.support.data import ROOT
from tests.support.gallery_implementations import EMBEDDER, SIZE, face, random_faces
from tests.support.milvus_galleries import open_gallery, open_pooled
from tests.support.milvus_server import shared_server, start_server

pytestmark = pytest.mark.milvus

ORIGIN = np.zeros((1, SIZE), dtype=np.float32)


@pytest.fixture
def gallery(tmp_path: Path) -> Iterator[MilvusGallery]:
    store = open_pooled(tmp_path / "gallery", SIZE, EMBEDDER)
    yield store
    store.close()


def nearest_ids(gallery: GalleryStore, k: int, **options: object) -> list[str]:
    (matches,) = gallery.search(ORIGIN, k, SearchOptions(**options)).matches  # type: ignore[arg-type]
    return [match.face.id for match in matches]


OTHER_PROCESS = """
import sys, time
import numpy as np
from mien.index.gallery.face import GalleryFace
from mien.index.gallery.milvus.address import parse_address
from mien.index.gallery.milvus.gallery import open_milvus_gallery

gallery = open_milvus_gallery(parse_address(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
print("open", flush=True)
for line in sys.stdin:
    command, face_id = line.split()
    if command == "add":
        gallery.add([GalleryFace(face_id, np.zeros(gallery.embedding_size, dtype=np.float32))])
    else:
        gallery.delete([face_id])
    print(time.time(), flush=True)
"""


def test_writes_of_another_process_are_found_within_a_second(tmp_path: Path) -> None:
    name = "shared_by_two"
    gallery = open_gallery(name, SIZE, EMBEDDER)
    address = f"milvus://{shared_server().address}/{name}"
    other = subprocess.Popen(
        [sys.executable, "-c", OTHER_PROCESS, address, str(SIZE), EMBEDDER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    assert other.stdin is not None
    assert other.stdout is not None

    def ask(command: str, face_id: str) -> float:
        assert other.stdin is not None
        assert other.stdout is not None
        other.stdin.write(f"{command} {face_id}\n")
        other.stdin.flush()
        return float(other.stdout.readline())

    try:
        assert other.stdout.readline() == "open\n"
        delays = []
        for round_ in range(5):
            for command, there in (("add", True), ("delete", False)):
                acknowledged = ask(command, f"face{round_}")
                while (f"face{round_}" in nearest_ids(gallery, 100)) != there:
                    assert time.time() - acknowledged < 5
                delays.append(time.time() - acknowledged)
                assert (f"face{round_}" in {each.id for each in gallery.listing(100).faces}) == there
        assert max(delays) < 1.0, delays
    finally:
        other.stdin.close()
        other.wait()
        other.stdout.close()
        gallery.close()


def test_staleness_of_zero_sees_every_write() -> None:
    name = "seen_at_once"
    writer = open_gallery(name, SIZE, EMBEDDER)
    reader = open_milvus_gallery(
        parse_address(f"milvus://{shared_server().address}/{name}?staleness_ms=0"), SIZE, EMBEDDER
    )
    for row in range(5):
        writer.add([face(f"face{row}", row)])
        assert len(nearest_ids(reader, 100)) == row + 1
        assert reader.count() == row + 1
    writer.close()
    reader.close()


def test_killed_server_loses_no_write(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    server = start_server(tmp_path_factory.mktemp("restarted"))
    gallery = open_milvus_gallery(parse_address(f"milvus://{server.address}/faces"), SIZE, EMBEDDER)
    stop = threading.Event()
    stored: list[set[str]] = []
    searches: list[int] = []

    def write(worker: int) -> None:
        """Add and delete faces; ``stored`` has the acknowledged ones."""
        mine: set[str] = set()
        stored.append(mine)
        number = 0
        while not stop.is_set():
            faces = [face(f"{worker}-{number}-{row}", number) for row in range(5)]
            gallery.add(faces)
            mine.update(each.id for each in faces)
            gone = [each.id for each in faces[:2]]
            gallery.delete(gone)
            mine.difference_update(gone)
            number += 1

    def search() -> None:
        while not stop.is_set():
            searches.append(len(nearest_ids(gallery, 10)))

    with ThreadPoolExecutor(4) as threads:
        workers = [threads.submit(write, worker) for worker in range(3)] + [threads.submit(search)]
        try:
            time.sleep(3)
            written = sum(map(len, stored))
            assert written > 0
            server.kill()
            time.sleep(1)
            server.start()
            end = time.monotonic() + 90
            while sum(map(len, stored)) < written + 30 and time.monotonic() < end:
                time.sleep(0.2)
        finally:
            stop.set()
        for each in workers:
            each.result()  # no writer and no reader noticed the restart
    expected = set().union(*stored)
    assert len(expected) >= written + 24  # a batch of each writer may have had its deletions left
    assert {each.id for each in every_face(gallery)} == expected
    assert gallery.count() == len(expected)
    assert len(searches) > 2
    gallery.close()
    server.kill()


def test_server_with_users_needs_the_password(tmp_path: Path) -> None:
    server = start_server(tmp_path / "guarded", token="root:Milvus")  # noqa: S106 - the one it is made with
    gallery = open_milvus_gallery(parse_address(f"milvus://root:Milvus@{server.address}/faces"), SIZE, EMBEDDER)
    gallery.add([face("a")])
    assert gallery.get("a").id == "a"
    with pytest.raises(GalleryError, match="refuses connecting: auth check failure") as caught:
        open_milvus_gallery(parse_address(f"milvus://root:guessed@{server.address}/faces"), SIZE, EMBEDDER)
    assert "guessed" not in str(caught.value)
    gallery.close()
    server.kill()


class TestOpening:
    def test_collection_of_another_network_is_refused(self) -> None:
        open_gallery("of_a_network", SIZE, EMBEDDER).close()
        for size, sha256 in ((SIZE, "0" * 64), (SIZE + 1, EMBEDDER)):
            with pytest.raises(GalleryError, match="another network"):
                open_gallery("of_a_network", size, sha256)

    def test_newer_version_is_refused(self) -> None:
        address = parse_address(f"milvus://{shared_server().address}/newer")
        connection = MilvusConnection(address)
        made = create_collection(connection, CollectionNote(SCHEMA_VERSION + 1, SIZE, EMBEDDER, "flat"))
        connection.call("create_alias", made, "newer")
        with pytest.raises(GalleryError, match=f"newer has version {SCHEMA_VERSION + 1}, .* reads up to"):
            open_milvus_gallery(address, SIZE, EMBEDDER)
        connection.close()

    def test_collection_of_something_else_is_refused(self) -> None:
        address = parse_address(f"milvus://{shared_server().address}/others")
        connection = MilvusConnection(address)
        connection.call("create_collection", "others", dimension=SIZE)
        with pytest.raises(GalleryError, match="no gallery of mien"):
            open_milvus_gallery(address, SIZE, EMBEDDER)
        connection.call("drop_collection", "others")
        connection.close()

    def test_collection_with_another_index_is_refused(self) -> None:
        open_gallery("flat_one", SIZE, EMBEDDER).close()
        with pytest.raises(GalleryError, match="made with the index flat, asked for is ivf"):
            open_gallery("flat_one", SIZE, EMBEDDER, "?index=ivf")

    def test_clients_that_open_at_once_create_one_collection(self) -> None:
        with ThreadPoolExecutor(4) as threads:
            galleries = list(threads.map(lambda _: open_gallery("made_at_once", SIZE, EMBEDDER), range(4)))
        for number, each in enumerate(galleries):
            each.add([face(f"f{number}")])
        assert {each.count() for each in galleries[-1:]} == {4}
        for each in galleries:
            each.close()

    def test_unreachable_server_is_an_error_after_the_patience(self) -> None:
        pytest.importorskip("pymilvus")
        start = time.monotonic()
        with pytest.raises(GalleryError, match=r"milvus://127\.0\.0\.1:9/faces did not answer connecting within 1 s"):
            open_milvus_gallery(parse_address("milvus://127.0.0.1:9/faces?patience_s=1"), SIZE, EMBEDDER)
        assert time.monotonic() - start < 10

    def test_missing_client_says_what_to_install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "pymilvus", None)
        with pytest.raises(ConfigError, match=r"pip install 'mien\[distributed\]'"):
            open_milvus_gallery(parse_address("milvus://127.0.0.1:9/faces"), SIZE, EMBEDDER)


class TestCompleteness:
    @pytest.mark.parametrize("index", ["ivf", "hnsw"])
    def test_filtered_search_with_an_approximate_index_is_exact(self, index: str) -> None:
        gallery = open_gallery(f"approximate_{index}", SIZE, EMBEDDER, f"?index={index}")
        points = np.random.default_rng(0).normal(size=(6000, SIZE)).astype(np.float32)
        gallery.add([face(f"f{row:05d}", point, metadata={"row": row}) for row, point in enumerate(points)])
        distances = np.linalg.norm(points.astype(np.float64), axis=1)
        rows = np.argsort(distances)
        assert len(nearest_ids(gallery, 2000)) == 2000
        assert len(set(nearest_ids(gallery, 10)) & {f"f{row:05d}" for row in rows[:10]}) >= 5
        few = [f"f{row:05d}" for row in rows if row < 60]
        rare = parse_filter({"metadata.row": {"lt": 60}})
        assert nearest_ids(gallery, 10, filter=rare) == few[:10]
        assert nearest_ids(gallery, 100, filter=rare) == few
        assert len(nearest_ids(gallery, 10_000)) == 6000
        gallery.close()

    def test_more_faces_than_one_query_returns(self, gallery: MilvusGallery) -> None:
        many = [face(f"many{row:05d}", 1, subject="one", metadata={"n": row}) for row in range(17_000)]
        gallery.add(many)
        gallery.add([face("other", 2, subject="two"), face("no subject", 3)])
        assert gallery.count() == 17_002
        assert nearest_ids(gallery, 5, one_per_subject=True) == ["many00000", "other", "no subject"]
        assert nearest_ids(gallery, 3, after=(1.0, "many16998")) == ["many16999", "other", "no subject"]
        assert nearest_ids(gallery, 3) == ["many00000", "many00001", "many00002"], "ties are sorted by id"
        assert gallery.listing(17_000, after="many00000").faces[-1].id == "no subject"
        assert len(list(every_face(gallery, page=5000))) == 17_002


def test_largest_faces_are_stored(gallery: MilvusGallery) -> None:
    generator = np.random.default_rng(0)
    faces = [
        face(
            f"{'é' * 120}{row}",
            row,
            metadata={"ü" * 2000: "x" * 12_000},
            thumbnail=generator.bytes(MAX_THUMBNAIL_BYTES),
        )
        for row in range(200)
    ]
    assert len(gallery.add(faces).added) == 200
    for each in (faces[0], faces[199]):
        stored = gallery.get(each.id)
        assert stored.thumbnail == each.thumbnail
        assert stored.metadata == each.metadata
    gallery.add([replace(faces[0], id="empty", thumbnail=b"")])
    assert gallery.get("empty").thumbnail == b""
    assert sum(len(page) for page in gallery.pages()) == 201


def test_restore_is_seen_whole_or_not_at_all(tmp_path: Path) -> None:
    first, second = (open_gallery("restored", SIZE, EMBEDDER) for _ in range(2))
    first.add(random_faces(20))
    first.snapshot(tmp_path / "snapshot")
    first.add(random_faces(5, prefix="later"))

    def broken() -> Iterator[list[GalleryFace]]:
        yield random_faces(3, prefix="new")
        raise GalleryError("the snapshot ends early")

    with pytest.raises(GalleryError, match="ends early"):
        first.replace_all(broken())
    assert second.count() == 25
    assert first.restore(tmp_path / "snapshot") == 20
    time.sleep(1)
    assert [each.id for each in every_face(second)] == [each.id for each in random_faces(20)]
    second.add([face("after")])
    time.sleep(1)
    assert first.get("after").id == "after"
    with pytest.raises(UnknownFaceError):
        second.get("later-00001")
    first.close()
    second.close()


def test_snapshot_numbers_grow_and_fit_into_a_double() -> None:
    milliseconds = 1_800_000_000_000
    moments = [(milliseconds + step) << 18 | logical for step in range(3) for logical in (0, 1, 900, 5000)]
    numbers = [sequence_of(moment) for moment in moments]
    assert numbers == sorted(numbers)
    assert len(set(numbers)) == len(numbers)
    assert max(numbers) < 2**53


def test_refusal_has_the_reason_of_the_server(gallery: MilvusGallery) -> None:
    connection = MilvusConnection(parse_address(f"milvus://{shared_server().address}/faces"))
    with pytest.raises(GalleryError, match="refuses query: cannot parse expression"):
        connection.call("query", gallery.collection.name, filter="what?", output_fields=["id"], limit=1)
    connection.close()
