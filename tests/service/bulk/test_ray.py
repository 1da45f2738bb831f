"""``mien gallery import --cluster`` on a real cluster: several nodes of Ray on this machine, of which one is killed."""

import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mien.index.bundle.default import default_bundle
from mien.index.bundle.manifest import EMBEDDER, read_manifest
from mien.index.gallery.embedded.gallery import open_embedded_gallery
from mien.index.gallery.face import GalleryFace
from mien.index.gallery.store import every_face
from mien.model.embedder.embedder import Embedder
from mien.service.commands.main import main
from tests.support.cartoon import cartoon
from tests.support.data import ROOT
from tests.support.faces import MakeFaces
from tests.support.milvus_galleries import open_gallery as open_distributed
from tests.support.milvus_server import shared_server
from tests.support.serving import MIEN, environment_without_settings

PHOTOGRAPHS = 400
SIZE = 64

pytestmark = pytest.mark.milvus  # one test writes to Milvus, and all of them share a cluster


class Nodes:
    """A head and two nodes of one core each, with processes of their own."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(ROOT / "tests" / "support" / "ray_nodes.py"), "1", "1"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**environment(), "NODE_GPUS": "1"},  # so they say; which is what decides where faces are embedded
            text=True,
        )
        assert self._process.stdout is not None
        self.address = self._process.stdout.readline().strip()
        assert re.fullmatch(r"[\d.]+:\d+", self.address)

    def kill_one(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write("kill\n")
        self._process.stdin.flush()
        assert self._process.stdout.readline() == "killed\n"

    def stop(self) -> None:
        self._process.communicate(timeout=60)


def environment() -> dict[str, str]:
    """As the tests', with the checkout in the path of every process of the cluster."""
    return {**environment_without_settings(), "PYTHONPATH": str(ROOT)}


@pytest.fixture(scope="module")
def nodes() -> Iterator[Nodes]:
    pytest.importorskip("pyarrow")
    there = subprocess.run([sys.executable, "-c", "import ray.data"], capture_output=True, check=False)
    if there.returncode != 0:
        pytest.skip("needs the extra 'bulk'")
    nodes = Nodes()
    yield nodes
    nodes.stop()


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photographs of one face each, no two of them alike, and a text among them."""
    folder = tmp_path_factory.mktemp("photographs")
    face = cartoon(240)
    for row in range(PHOTOGRAPHS):
        sheet = Image.new("RGB", (640, 480), (90, 120, 60 + row % 180))
        sheet.paste(Image.fromarray(face), (20 + row % 50, 20 + row // 50))
        buffer = BytesIO()
        sheet.save(buffer, "JPEG", quality=80)
        (folder / f"{row:04d}.jpg").write_bytes(buffer.getvalue() + row.to_bytes(2, "big"))
    (folder / "notes.txt").write_text("no picture")
    return folder


def write_crops(folder: Path, make_faces: MakeFaces) -> Path:
    folder.mkdir()
    for row, crop in enumerate(make_faces(70).images):
        Image.fromarray(crop).save(folder / f"{row:02d}.png")
    return folder


def begin(photographs: Path, gallery: Path | str, *options: str, **settings: str) -> "subprocess.Popen[str]":
    program = [MIEN, "gallery", "import", str(photographs), "--gallery", str(gallery), *options]
    return subprocess.Popen(program, stderr=subprocess.PIPE, env={**environment(), **settings}, cwd="/", text=True)


def faces_in(gallery: Path) -> dict[str, GalleryFace]:
    store = open_embedded_gallery(gallery, SIZE, read_manifest(default_bundle()).sha256[EMBEDDER])
    faces = {each.id: each for each in every_face(store)}
    store.close()
    return faces


def assert_it_is_whole(gallery: Path) -> None:
    store = open_embedded_gallery(gallery, SIZE, read_manifest(default_bundle()).sha256[EMBEDDER])
    report = store.check()
    store.close()
    assert (report["faces"], report["memory_agrees_with_database"]) == (PHOTOGRAPHS, True)


def wait_until(held: Callable[[], bool], process: "subprocess.Popen[str]") -> None:
    end = time.monotonic() + 120
    while not held():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < end
        time.sleep(0.1)


def some_are_in(gallery: Path) -> bool:
    return (gallery / "gallery.sqlite").exists() and len(faces_in(gallery)) > 0


def test_killed_import_and_killed_node_lose_and_double_nothing(nodes: Nodes, photographs: Path, tmp_path: Path) -> None:
    gallery = tmp_path / "gallery"
    first = begin(photographs, gallery, "--cluster", nodes.address, MIEN_PROVIDER="cpu")
    wait_until(lambda: some_are_in(gallery), first)
    first.kill()
    first.communicate()
    before = faces_in(gallery)
    assert 0 < len(before) < PHOTOGRAPHS
    options = ("--cluster", nodes.address, "--skipped", str(tmp_path / "skipped.csv"))
    second = begin(photographs, gallery, *options, MIEN_PROVIDER="cpu")
    # Some parcels in, so that both nodes have had time to give one: their actors do not start at the same moment.
    wait_until(lambda: len(faces_in(gallery)) > len(before) + (PHOTOGRAPHS - len(before)) // 2, second)
    nodes.kill_one()
    assert len(faces_in(gallery)) < PHOTOGRAPHS, "it was killed in the middle"
    messages = second.communicate(timeout=300)[1]
    assert second.returncode == 1, messages
    after = faces_in(gallery)
    assert_it_is_whole(gallery)
    assert sorted(after) == [f"{row:04d}.jpg" for row in range(PHOTOGRAPHS)]
    assert all(after[face_id].sequence == face.sequence for face_id, face in before.items())
    assert len({face.content_sha256 for face in after.values()}) == PHOTOGRAPHS
    counts = re.search(r"(\d+) added, 0 replaced, (\d+) there already, 1 skipped", messages)
    assert counts is not None, messages
    assert sum(map(int, counts.groups())) == PHOTOGRAPHS
    assert "expected an image" in (tmp_path / "skipped.csv").read_text(encoding="utf-8")
    by_node = [int(count) for count in re.findall(r"^[\d.]+ \([0-9a-f]{8}\): (\d+)$", messages, re.MULTILINE)]
    assert sum(by_node) == PHOTOGRAPHS + 1
    assert len(by_node) == 2, "both nodes had a part in it"
    # The same faces without a cluster, by the same stages.
    assert main(["gallery", "import", str(photographs), "--gallery", str(tmp_path / "alone")]) == 1
    alone = faces_in(tmp_path / "alone")
    assert alone.keys() == after.keys()
    for face_id, face in alone.items():
        np.testing.assert_allclose(after[face_id].embedding, face.embedding, atol=1e-4)
        assert (after[face_id].emotion, after[face_id].sub_class) == (face.emotion, face.sub_class)


def test_faces_are_embedded_where_there_is_a_gpu(nodes: Nodes, make_faces: MakeFaces, tmp_path: Path) -> None:
    """The nodes say that they have one; on their CPUs the network gives the same."""
    crops = write_crops(tmp_path / "crops", make_faces)
    options = ("--already-cropped", "--cluster", nodes.address)
    process = begin(crops, tmp_path / "gallery", *options, MIEN_GALLERY_THUMBNAILS="true")
    messages = process.communicate(timeout=300)[1]
    assert process.returncode == 0, messages
    faces = faces_in(tmp_path / "gallery")
    embedder = Embedder(default_bundle() / EMBEDDER, provider="cpu")
    assert len(faces) == 70
    for face_id, face in faces.items():
        crop = np.asarray(Image.open(crops / face_id))
        np.testing.assert_allclose(face.embedding, embedder.embed(crop[None])[0], atol=1e-4)
    store = open_embedded_gallery(tmp_path / "gallery", SIZE, read_manifest(default_bundle()).sha256[EMBEDDER])
    assert store.get("00.png").thumbnail is not None
    store.close()


def test_distributed_gallery_is_written_by_the_cluster(nodes: Nodes, make_faces: MakeFaces, tmp_path: Path) -> None:
    address = f"milvus://{shared_server().address}/bulk"
    crops = write_crops(tmp_path / "crops", make_faces)
    for counts in ("70 added, 0 replaced, 0 there already", "0 added, 0 replaced, 70 there already"):
        process = begin(crops, address, "--already-cropped", "--cluster", nodes.address)
        messages = process.communicate(timeout=300)[1]
        assert process.returncode == 0, messages
        assert counts in messages
    store = open_distributed("bulk", SIZE, read_manifest(default_bundle()).sha256[EMBEDDER])
    assert sorted(each.id for each in every_face(store)) == [f"{row:02d}.png" for row in range(70)]
    store.close()


def test_unreachable_cluster_is_an_error(tmp_path: Path) -> None:
    process = begin(tmp_path, tmp_path / "gallery", "--cluster", "127.0.0.1:1")
    messages = process.communicate(timeout=120)[1]
    assert process.returncode == 1
    assert "no cluster at 127.0.0.1:1" in messages
    assert "Traceback" not in messages
