"""A served gallery: what is deleted is gone, damage costs what it concerns, and a removed gallery is noticed."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import httpx2
import numpy as np
import pytest

from mien.index.bundle.default import default_bundle
from mien.index.bundle.manifest import EMBEDDER, read_manifest
from mien.index.errors import GalleryError
from mien.index.gallery.embedded.folder import DATABASE
from mien.index.gallery.embedded.gallery import EmbeddedGallery, open_embedded_gallery
from mien.index.gallery.face import GalleryFace
from tests.support.serving import served_process

pytestmark = pytest.mark.system

SECRETS = (b"secret-id", b"secret subject", b"secret note")


def items(*names: str) -> dict[str, object]:
    return {
        "items": [
            {
                "id": name,
                "embedding": [0.01 * row] * 64,
                "subject": f"{name} subject",
                "metadata": {"note": "secret note"},
            }
            for row, name in enumerate(names)
        ]
    }


def opened(folder: Path) -> EmbeddedGallery:
    """The gallery as another process has it."""
    return open_embedded_gallery(folder, 64, read_manifest(default_bundle()).sha256[EMBEDDER])


def found(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if any(text in path.read_bytes() for text in SECRETS)}


def test_deleted_person_is_in_no_file_while_it_is_served(tmp_path: Path) -> None:
    folder = tmp_path / "faces"
    with (
        served_process("--gallery", str(folder), "--drain-s", "0") as server,
        httpx2.Client(base_url=server.url) as ask,
    ):
        assert ask.post("/gallery", json=items("secret-id", "secret")).status_code == 201
        assert found(folder)
        assert ask.delete("/gallery", params={"subject": "secret-id subject"}).status_code == 200
        assert ask.delete("/gallery/secret").status_code == 204
        assert not found(folder)
        assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}
        assert server.terminate() == 0
    assert not (folder / f"{DATABASE}-wal").exists()
    assert not found(folder)


def test_damage_costs_what_it_concerns(tmp_path: Path) -> None:
    """A damaged row, a damaged snapshot, a good one, and a database that is taken away, one after the other."""
    folder, snapshot = tmp_path / "faces", tmp_path / "kept"
    with closing(opened(folder)) as gallery:
        gallery.add([GalleryFace(name, np.full(64, 0.1, np.float32)) for name in ("a", "b", "c")])
        gallery.snapshot(snapshot)
    with closing(sqlite3.connect(folder / DATABASE)) as connection, connection:
        connection.execute("UPDATE faces SET embedding = x'0011' WHERE id = 'b'")
    with (
        served_process("--gallery", str(folder), "--drain-s", "0") as server,
        httpx2.Client(base_url=server.url, timeout=20) as ask,
        closing(opened(folder)) as gallery,
    ):
        query = {"query": {"embedding": [0.0] * 64}, "k": 9}

        def ids() -> list[str]:
            return sorted(match["id"] for match in ask.post("/retrieve", json=query).json()["matches"])

        assert ids() == ["a", "c"]
        lines = [json.loads(line) for line in server.log().splitlines() if line.startswith("{")]
        assert any("was set aside" in line["message"] for line in lines)
        whole = (snapshot / DATABASE).read_bytes()
        (snapshot / DATABASE).write_bytes(whole[:9000] + bytes([whole[9000] ^ 4]) + whole[9001:])
        with pytest.raises(GalleryError, match="is not as it was written"):
            gallery.restore(snapshot)
        assert ids() == ["a", "c"], "nothing of it"
        (snapshot / DATABASE).write_bytes(whole)
        assert gallery.restore(snapshot) == 3
        server.wait_until(lambda: ids() == ["a", "b", "c"])
        (folder / DATABASE).rename(tmp_path / "aside")
        assert ask.post("/gallery", json=items("lost")).status_code == 503
        assert ask.get("/health/ready").status_code == 503
        (tmp_path / "aside").rename(folder / DATABASE)
        assert ask.get("/health/ready").status_code == 200
        assert ask.post("/gallery", json=items("later")).status_code == 201
