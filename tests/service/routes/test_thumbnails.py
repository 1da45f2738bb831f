"""Thumbnails of several faces, over HTTP."""

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


def test_gallery_without_photographs_has_no_thumbnails(served_engine: Engine) -> None:
    with TestClient(create_app(served_engine, Settings())) as client:
        answer = client.post("/thumbnails", json={"ids": [served_engine.bundle.gallery.entries[0].id]}).json()
    assert answer == {"thumbnails": {}}
