"""Migrating a gallery to a distributed database and back, on a real server."""

import json
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import numpy as np
import pytest

from mien.index.bundle.default import default_bundle
from mien.index.bundle.manifest import EMBEDDER as EMBEDDER_FILE
from mien.index.bundle.manifest import read_manifest
from mien.index.errors import FaceConflictError, GalleryError
from mien.index.gallery.embedded.gallery import open_embedded_gallery
from mien.index.gallery.face import GalleryFace
from mien.index.gallery.migrate import Migration, migrate
from mien.index.gallery.open import open_gallery
from mien.index.gallery.store import GalleryStore, every_face
from mien.service.commands.main import main
from tests.support.gallery_implementations import EMBEDDER, SIZE, face, random_faces
from tests.support.milvus_server import shared_server

pytestmark = pytest.mark.milvus


@pytest.fixture
def address() -> str:
    return f"milvus://{shared_server().address}/migrated_{uuid4().hex}"


@pytest.fixture
def filled(tmp_path: Path) -> Iterator[GalleryStore]:
    store = open_embedded_gallery(tmp_path / "filled", SIZE, EMBEDDER)
    store.add([*random_faces(1200), face("with a picture", 3, thumbnail=b"\x89PNG", content_sha256="a" * 64)])
    yield store
    store.close()


def contents(gallery: GalleryStore) -> list[tuple[object, ...]]:
    return [
        (*(getattr(each, name) for name in GalleryFace.__dataclass_fields__ if name not in ("embedding", "sequence")),
         each.embedding.tobytes(), gallery.get(each.id).thumbnail if row % 100 == 0 else None)
        for row, each in enumerate(every_face(gallery))
    ]  # fmt: skip


def test_migration_and_back_changes_nothing(filled: GalleryStore, address: str, tmp_path: Path) -> None:
    there = migrate(str(tmp_path / "filled"), address, SIZE, EMBEDDER)
    assert there == Migration(added=1201)
    distributed = open_gallery(address, SIZE, EMBEDDER)
    assert contents(distributed) == contents(filled)
    assert distributed.get("with a picture").thumbnail == b"\x89PNG"
    distributed.close()
    steps: list[int] = []
    back = migrate(
        address, str(tmp_path / "back"), SIZE, EMBEDDER, on_progress=lambda so_far: steps.append(so_far.faces)
    )
    assert back == Migration(added=1201)
    assert steps == sorted(steps)
    assert len(steps) > 1
    again = open_embedded_gallery(tmp_path / "back", SIZE, EMBEDDER)
    assert contents(again) == contents(filled)
    query = np.random.default_rng(0).normal(size=(5, SIZE)).astype(np.float32)
    for one, other in zip(again.search(query, 20).matches, filled.search(query, 20).matches, strict=True):
        assert [(match.face.id, match.distance) for match in one] == [
            (match.face.id, match.distance) for match in other
        ]
    again.close()


def test_interrupted_migration_continues(filled: GalleryStore, address: str, tmp_path: Path) -> None:
    class StoppedError(Exception):
        pass

    def interrupt(so_far: Migration) -> None:
        if so_far.faces >= 500:
            raise StoppedError

    with pytest.raises(StoppedError):
        migrate(str(tmp_path / "filled"), address, SIZE, EMBEDDER, on_progress=interrupt)
    assert migrate(str(tmp_path / "filled"), address, SIZE, EMBEDDER) == Migration(added=701, unchanged=500)


def test_other_content_in_the_target_is_a_conflict(filled: GalleryStore, address: str, tmp_path: Path) -> None:
    target = open_gallery(address, SIZE, EMBEDDER)
    target.add([face("face-00000", 7), face("only in the target", 8)])
    with pytest.raises(FaceConflictError, match="'face-00000'"):
        migrate(str(tmp_path / "filled"), address, SIZE, EMBEDDER)
    assert migrate(str(tmp_path / "filled"), address, SIZE, EMBEDDER, replace=True).replaced == 1
    assert target.count() == 1202
    assert target.get("only in the target").id == "only in the target"
    target.close()


def test_missing_source_and_equal_places_are_refused(address: str, tmp_path: Path) -> None:
    with pytest.raises(GalleryError, match="is no gallery"):
        migrate(str(tmp_path / "nowhere"), address, SIZE, EMBEDDER)
    with pytest.raises(GalleryError, match="there is no gallery at milvus://"):
        migrate(address, str(tmp_path / "target"), SIZE, EMBEDDER)
    assert not (tmp_path / "target").exists()
    with pytest.raises(GalleryError, match="another place"):
        migrate(address, address + "/", SIZE, EMBEDDER)


def test_command_migrates(address: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = open_embedded_gallery(tmp_path / "source", 64, read_manifest(default_bundle()).sha256[EMBEDDER_FILE])
    source.add([GalleryFace(f"f{row}", np.full(64, row, dtype=np.float32)) for row in range(10)])
    there = ["gallery", "migrate", "--gallery", str(tmp_path / "source"), "--to", address]
    assert main(there) == 0
    assert "10 faces: 10 added, 0 there already, 0 replaced" in capsys.readouterr().out
    source.add([GalleryFace("f3", np.full(64, 99, dtype=np.float32))], replace=True)
    assert main(there) == 1
    assert "'f3'" in capsys.readouterr().err
    assert main([*there, "--replace"]) == 0
    assert "10 faces: 0 added, 9 there already, 1 replaced" in capsys.readouterr().out
    source.close()
    assert main(["gallery", "check", "--gallery", address, "--queries", "5"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["faces"], report["index"], report["recall_at_10"]) == (10, "flat", 1.0)
    assert main(["gallery", "snapshot", str(tmp_path / "snapshot"), "--gallery", address]) == 0
    assert main(["gallery", "export", str(tmp_path / "faces.parquet"), "--gallery", address]) == 0
    assert main(["gallery", "migrate", "--gallery", address, "--to", str(tmp_path / "back")]) == 0
    assert main(["gallery", "restore", str(tmp_path / "back"), "--gallery", address]) == 0
