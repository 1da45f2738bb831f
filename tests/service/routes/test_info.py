"""What is served, over HTTP."""

from pathlib import Path

from fastapi.testclient import TestClient

from mien.model.emotions import EMOTIONS
from mien.service.app import create_app
from mien.service.inference.engine import Engine
from mien.service.settings import Settings
from tests.support.engines import gallery_engine


def test_info_has_the_gallery_the_scale_and_the_limits(served_engine: Engine) -> None:
    with TestClient(create_app(served_engine, Settings(max_images=7))) as client:
        answer = client.get("/info").json()
    assert answer["gallery"] == {"faces": served_engine.gallery.count(), "read_only": True, "keeps_thumbnails": False}
    assert answer["emotions"] == list(EMOTIONS)
    assert answer["sub_classes"]["happiness/2"] == served_engine.bundle.sub_class_names["happiness/2"]
    assert 0 < answer["typical_distance"]["same_emotion"] < answer["typical_distance"]["other_emotion"]
    assert answer["limits"]["images"] == 7


def test_info_says_whether_thumbnails_are_kept(served_engine: Engine, tmp_path: Path) -> None:
    with (
        gallery_engine(served_engine, tmp_path) as engine,
        TestClient(create_app(engine, Settings(gallery_thumbnails=True))) as client,
    ):
        assert client.get("/info").json()["gallery"] == {"faces": 0, "read_only": False, "keeps_thumbnails": True}
