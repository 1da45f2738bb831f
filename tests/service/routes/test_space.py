"""The map, the atlas and portraits, over HTTP."""

import time
from collections import Counter
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from fastapi.testclient import TestClient
from numpy.typing import NDArray
from PIL import Image

from mien.index.gallery.face import GalleryFace
from mien.index.gallery.store import GalleryStore
from mien.model.emotions import EMOTIONS
from mien.service.answers.space import Map
from mien.service.app import create_app
from mien.service.inference import space
from mien.service.inference.engine import Engine
from mien.service.inference.portraits import MAX_CACHED, PortraitCache
from mien.service.routes.space import SpaceAnswers
from mien.service.settings import Settings
from tests.support.engines import gallery_engine


@pytest.fixture(scope="module")
def client(served_engine: Engine) -> Iterator[TestClient]:
    with TestClient(create_app(served_engine, Settings(rate_per_s=0))) as client:
        yield client


def pixels(content: bytes) -> NDArray[np.uint8]:
    return np.asarray(Image.open(BytesIO(content)), dtype=np.uint8)


def test_map_projects_every_face_on_its_axes(client: TestClient, served_engine: Engine) -> None:
    shown = client.get("/map").json()
    gallery = served_engine.bundle.gallery
    assert (shown["faces"], shown["owned"]) == (served_engine.gallery.count(), False)
    assert shown["ids"] == [*gallery.rows, *(face.id for face in served_engine.bundle.demonstration)]
    rows = np.arange(0, len(gallery), 997)
    places = (gallery.embeddings[rows] - np.array(shown["middle"])) @ np.array(shown["axes"]).T
    np.testing.assert_allclose(places[:, 0], np.array(shown["x"])[rows], atol=2e-3)
    np.testing.assert_allclose(places[:, 1], np.array(shown["y"])[rows], atol=2e-3)
    assert [region["id"] for region in shown["emotions"]] == list(EMOTIONS)
    for row in rows.tolist():
        assert EMOTIONS[shown["emotion"][row]] == gallery.entries[row].emotion
    names = {region["id"]: region["name"] for region in shown["sub_classes"]}
    assert names == served_engine.bundle.sub_class_names
    assert all(region["long"] >= region["short"] > 0 for region in shown["emotions"] + shown["sub_classes"])


@pytest.mark.parametrize("path", ["/map", "/atlas"])
def test_unchanged_answer_is_compressed_and_sent_once(client: TestClient, path: str) -> None:
    packed = client.get(path, headers={"Accept-Encoding": "gzip"})
    plain = client.get(path, headers={"Accept-Encoding": "identity"})
    assert packed.headers["content-encoding"] == "gzip"
    assert "content-encoding" not in plain.headers
    assert packed.json() == plain.json()
    assert int(packed.headers["content-length"]) < 0.6 * int(plain.headers["content-length"])
    again = client.get(path, headers={"If-None-Match": plain.headers["etag"]})
    assert again.status_code == 304
    assert again.content == b""


def test_atlas_has_each_emotion(client: TestClient, served_engine: Engine) -> None:
    atlas = client.get("/atlas").json()
    assert atlas["faces"] == served_engine.gallery.count()
    assert atlas["portraits"] is True
    assert [region["id"] for region in atlas["emotions"]] == list(EMOTIONS)
    assert sum(region["share"] for region in atlas["emotions"]) == pytest.approx(1, abs=1e-4)
    for region in atlas["emotions"]:
        assert region["nearest"]
        assert (region["name"], region["description"]) == (None, None)
        for part in region["sub_classes"]:
            assert part["id"].startswith(f"{region['id']}/")
            assert part["name"] == served_engine.bundle.sub_class_names[part["id"]]
            assert part["description"]


def test_point_of_a_portrait_can_be_given_in_each_way(client: TestClient, served_engine: Engine) -> None:
    bundle = served_engine.bundle
    centroid = ",".join(str(number) for number in bundle.mixture.centroids[2])
    by_emotion = client.get("/portrait", params={"emotion": "surprise"})
    assert by_emotion.headers["content-type"] == "image/png"
    assert pixels(by_emotion.content).shape == (192, 192)
    by_embedding = client.get("/portrait", params={"embedding": centroid})
    assert np.abs(pixels(by_embedding.content).astype(int) - pixels(by_emotion.content)).max() <= 2
    face = bundle.gallery.entries[0].id
    assert pixels(client.get("/portrait", params={"id": face, "side_px": 48}).content).shape == (48, 48)
    if bundle.sub_classes is not None:
        name = bundle.sub_classes.each[0].id
        assert client.get("/portrait", params={"sub_class": name}).status_code == 200


def test_several_portraits_are_one_image(client: TestClient) -> None:
    queries = [
        {"emotion": "happiness"},
        {"emotion": "fear"},
        {"mix": [{"weight": 1, "query": {"emotion": "happiness"}}, {"weight": 1, "query": {"emotion": "fear"}}]},
        {"emotion": "happiness"},
    ]
    strip = pixels(client.post("/portraits", json={"queries": queries}).content)
    assert strip.shape == (4 * 48, 48)
    first, second, mixed, again = strip.reshape(4, 48, 48).astype(int)
    np.testing.assert_array_equal(first, again)
    assert min(np.abs(mixed - each).mean() for each in (first, second)) > 5
    one = pixels(client.get("/portrait", params={"emotion": "fear", "side_px": 48}).content)
    assert np.abs(one.astype(int) - second).max() <= 1


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({}, "got none"),
        ({"emotion": "fear", "id": "x"}, "got id, emotion"),
        ({"emotion": "joy"}, "got 'joy'"),
        ({"id": "nobody"}, "nobody"),
        ({"embedding": "1,2"}, "expected an embedding of 64 numbers, got 2"),
        ({"embedding": "1,x"}, "numbers with commas between"),
        ({"embedding": "nan," * 63 + "1"}, "numbers with commas between"),
        ({"emotion": "fear", "side_px": "9999"}, "side_px"),
        ({"emotoin": "fear"}, "emotoin"),
    ],
)
def test_invalid_portrait_requests_are_refused(client: TestClient, parameters: dict[str, str], words: str) -> None:
    response = client.get("/portrait", params=parameters)
    assert response.status_code == 422
    assert words in response.json()["detail"]


def test_too_many_portraits_are_refused(client: TestClient) -> None:
    assert client.post("/portraits", json={"queries": [{"emotion": "fear"}] * 257}).status_code == 422
    assert client.post("/portraits", json={"queries": []}).status_code == 422


def test_number_of_cached_portraits_is_limited(served_engine: Engine) -> None:
    portraits = PortraitCache(served_engine.bundle)
    points = np.random.default_rng(0).normal(size=(MAX_CACHED + 60, 64)).astype(np.float32)
    first = portraits.paint(points[:10])
    portraits.paint(points)
    assert len(portraits) == MAX_CACHED
    np.testing.assert_array_equal(portraits.paint(points[:10]), first)


@pytest.fixture
def gallery_client(served_engine: Engine, tmp_path: Path) -> Iterator[tuple[TestClient, GalleryStore]]:
    with (
        gallery_engine(served_engine, tmp_path / "gallery") as engine,
        TestClient(create_app(engine, Settings(rate_per_s=0))) as client,
    ):
        yield client, engine.gallery


def test_empty_gallery_has_a_map_and_an_atlas(gallery_client: tuple[TestClient, GalleryStore]) -> None:
    client, _ = gallery_client
    shown = client.get("/map").json()
    assert (shown["faces"], shown["owned"], shown["ids"], shown["x"]) == (0, True, [], [])
    assert [region["id"] for region in shown["emotions"]] == list(EMOTIONS)
    atlas = client.get("/atlas").json()
    assert (atlas["faces"], atlas["owned"]) == (0, True)
    assert all(region["share"] == 0 and region["nearest"] == [] for region in atlas["emotions"])


def test_faces_of_your_gallery_are_projected_as_those_of_the_bundle(
    gallery_client: tuple[TestClient, GalleryStore], served_engine: Engine
) -> None:
    client, store = gallery_client
    gallery, mixture = served_engine.bundle.gallery, served_engine.bundle.mixture
    points = gallery.embeddings[:30]
    named = [mixture.emotions[place] for place in mixture.distances(points).argmin(axis=1)]
    labels = ["fear", None, "joy"]
    store.add(
        [
            GalleryFace(f"f{row:02d}", point, label=labels[row % 3], emotion=emotion, metadata={"source": row})
            for row, (point, emotion) in enumerate(zip(points, named, strict=True))
        ]
    )
    shown = client.get("/map").json()
    assert (shown["faces"], shown["owned"]) == (30, True)
    rows = [int(face_id[1:]) for face_id in shown["ids"]]
    assert sorted(rows) == list(range(30))
    places = (points[rows] - np.array(shown["middle"])) @ np.array(shown["axes"]).T
    np.testing.assert_allclose(places, np.stack([shown["x"], shown["y"]], axis=1), atol=2e-3)
    for row, place in zip(rows, shown["emotion"], strict=True):
        assert EMOTIONS[place] == ("fear" if row % 3 == 0 else named[row])
    atlas = {region["id"]: region for region in client.get("/atlas").json()["emotions"]}
    assert {emotion: region["faces"] for emotion, region in atlas.items() if region["faces"]} == Counter(named)
    assert sum(region["share"] for region in atlas.values()) == pytest.approx(1, abs=1e-4)
    happiness = mixture.centroids[mixture.emotions.index("happiness")]
    rows = [row for row in range(30) if named[row] == "happiness"]
    nearest = sorted((float(np.linalg.norm(points[row] - happiness)), f"f{row:02d}") for row in rows)
    assert [face["id"] for face in atlas["happiness"]["nearest"]] == [face_id for _, face_id in nearest[:8]]
    assert [f"f{face['metadata']['source']:02d}" for face in atlas["happiness"]["nearest"]] == [
        face["id"] for face in atlas["happiness"]["nearest"]
    ]


def test_map_of_a_large_gallery_is_a_sample(
    served_engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(space, "MAX_POINTS", 50)
    points = served_engine.bundle.gallery.embeddings[:200]
    with gallery_engine(served_engine, tmp_path / "gallery") as engine:
        engine.gallery.add([GalleryFace(f"f{row}", point) for row, point in enumerate(points)])
        shown = Map.model_validate_json(SpaceAnswers(engine).map.get().plain)
    assert (shown.faces, len(set(shown.ids)), len(shown.x)) == (200, 50, 50)


def test_additions_and_deletions_are_shown_without_a_restart(served_engine: Engine, tmp_path: Path) -> None:
    with gallery_engine(served_engine, tmp_path / "gallery") as engine:
        answers, point = SpaceAnswers(engine), served_engine.bundle.gallery.embeddings[0]

        def ids() -> list[str]:
            return Map.model_validate_json(answers.map.get().plain).ids

        assert ids() == []
        engine.gallery.add([GalleryFace("a", point), GalleryFace("b", point + 1)])
        deadline = time.monotonic() + 60
        while ids() != ["a", "b"]:
            assert time.monotonic() < deadline, ids()
            time.sleep(0.1)
        engine.gallery.delete(["a"])
        while ids() != ["b"]:
            assert time.monotonic() < deadline, ids()
            time.sleep(0.1)
