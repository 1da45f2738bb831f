"""Thumbnails over HTTP."""

import base64
from pathlib import Path

from fastapi.testclient import TestClient
from PIL import Image

from mien.index.gallery.face import GalleryFace
from mien.service.app import create_app
from mien.service.inference.engine import Engine
from mien.service.middleware.api_keys import create_key
from mien.service.schemas.thumbnails import MAX_THUMBNAILS
from mien.service.settings import Settings
from tests.support.answers import problem
from tests.support.cartoon import cartoon
from tests.support.engines import gallery_engine
from tests.support.images import encode


def test_faces_with_a_thumbnail_are_answered_with_one_request(served_engine: Engine, tmp_path: Path) -> None:
    file = encode(Image.fromarray(cartoon(48)))
    point = served_engine.bundle.gallery.embeddings[0]
    key = {"X-API-Key": create_key(tmp_path / "keys.json", "reader", "read")}
    with (
        gallery_engine(served_engine, tmp_path / "gallery") as engine,
        TestClient(create_app(engine, Settings(keys=tmp_path / "keys.json"))) as client,
    ):
        engine.gallery.add([GalleryFace("a/1", point, thumbnail=file), GalleryFace("b", point)])
        answer = client.post("/thumbnails", json={"ids": ["a/1", "b", "unknown"]}, headers=key).json()
        assert answer == {"thumbnails": {"a/1": base64.b64encode(file).decode()}}
        assert client.post("/thumbnails", json={"ids": ["a/1"]}).status_code == 401
        many = client.post("/thumbnails", json={"ids": ["x"] * (MAX_THUMBNAILS + 1)}, headers=key)
        assert many.status_code == 422


def test_face_without_a_thumbnail_is_left_out(served_engine: Engine) -> None:
    with TestClient(create_app(served_engine, Settings())) as client:
        answer = client.post("/thumbnails", json={"ids": [served_engine.bundle.gallery.entries[0].id]}).json()
    assert answer == {"thumbnails": {}}


def test_thumbnail_is_a_file_that_browsers_keep(served_engine: Engine) -> None:
    face = served_engine.bundle.demonstration[3]
    with TestClient(create_app(served_engine, Settings())) as client:
        response = client.get("/thumbnail", params={"id": face.id})
        assert (response.status_code, response.content) == (200, face.thumbnail)
        assert response.headers["content-type"] == "image/webp"
        assert response.headers["cache-control"] == "private, max-age=300"
        again = client.get("/thumbnail", params={"id": face.id}, headers={"If-None-Match": response.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")


def test_face_without_a_thumbnail_is_not_found(served_engine: Engine) -> None:
    with TestClient(create_app(served_engine, Settings()), raise_server_exceptions=False) as client:
        for face_id in (served_engine.bundle.gallery.entries[0].id, "unknown"):
            assert "keeps no thumbnail" in problem(client.get("/thumbnail", params={"id": face_id}), 404)
        problem(client.get("/thumbnail"), 422)
