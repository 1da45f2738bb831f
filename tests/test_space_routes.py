"""The map, the atlas and portraits, over HTTP."""

from collections.abc import Iterator
from io import BytesIO

import numpy as np
import pytest
from fastapi.testclient import TestClient
from numpy.typing import NDArray
from PIL import Image

from model.votes import EMOTIONS
from service.app import create_app
from service.engine import Engine
from service.settings import Settings
from service.space import KEPT_PORTRAITS, Space


@pytest.fixture(scope="module")
def client(served_engine: Engine) -> Iterator[TestClient]:
    with TestClient(create_app(served_engine, Settings(rate_per_s=0))) as client:
        yield client


def pixels(content: bytes) -> NDArray[np.uint8]:
    return np.asarray(Image.open(BytesIO(content)), dtype=np.uint8)


def test_the_map_shows_every_face_where_its_axes_say(client: TestClient, served_engine: Engine) -> None:
    shown = client.get("/map").json()
    gallery = served_engine.bundle.gallery
    assert shown["ids"] == [entry.id for entry in gallery.entries]
    rows = np.arange(0, len(gallery), 997)
    places = (gallery.embeddings[rows] - np.array(shown["middle"])) @ np.array(shown["axes"]).T
    np.testing.assert_allclose(places[:, 0], np.array(shown["x"])[rows], atol=2e-3)
    np.testing.assert_allclose(places[:, 1], np.array(shown["y"])[rows], atol=2e-3)
    assert [region["id"] for region in shown["emotions"]] == list(EMOTIONS)
    for row in rows.tolist():
        assert EMOTIONS[shown["emotion"][row]] == gallery.entries[row].emotion
    assert all(region["long"] >= region["short"] > 0 for region in shown["emotions"] + shown["sub_classes"])


@pytest.mark.parametrize("path", ["/map", "/atlas"])
def test_what_does_not_change_is_compressed_and_sent_once(client: TestClient, path: str) -> None:
    packed = client.get(path, headers={"Accept-Encoding": "gzip"})
    plain = client.get(path, headers={"Accept-Encoding": "identity"})
    assert packed.headers["content-encoding"] == "gzip"
    assert "content-encoding" not in plain.headers
    assert packed.json() == plain.json()
    assert int(packed.headers["content-length"]) < 0.6 * int(plain.headers["content-length"])
    again = client.get(path, headers={"If-None-Match": plain.headers["etag"]})
    assert again.status_code == 304
    assert again.content == b""


def test_the_atlas_has_each_emotion(client: TestClient, served_engine: Engine) -> None:
    atlas = client.get("/atlas").json()
    assert atlas["faces"] == len(served_engine.bundle.gallery)
    assert atlas["portraits"] is True
    assert [region["id"] for region in atlas["emotions"]] == list(EMOTIONS)
    assert sum(region["share"] for region in atlas["emotions"]) == pytest.approx(1, abs=1e-4)
    for region in atlas["emotions"]:
        assert region["nearest"]
        for part in region["sub_classes"]:
            assert part["id"].startswith(f"{region['id']}/")


def test_a_portrait_can_be_named_in_each_way(client: TestClient, served_engine: Engine) -> None:
    bundle = served_engine.bundle
    centroid = ",".join(str(number) for number in bundle.mixture.centroids[2])
    by_emotion = client.get("/portrait", params={"emotion": "surprise"})
    assert by_emotion.headers["content-type"] == "image/png"
    assert pixels(by_emotion.content).shape == (192, 192)
    by_embedding = client.get("/portrait", params={"embedding": centroid})
    assert np.abs(pixels(by_embedding.content).astype(int) - pixels(by_emotion.content)).max() <= 2
    face = bundle.gallery.entries[0].id
    assert pixels(client.get("/portrait", params={"id": face, "side_px": 48}).content).shape == (48, 48)
    if bundle.subclasses is not None:
        name = bundle.subclasses.each[0].id
        assert client.get("/portrait", params={"sub_class": name}).status_code == 200


def test_several_portraits_come_under_one_another(client: TestClient) -> None:
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
    assert np.abs(first - second).mean() > np.abs(first - mixed).mean()
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
def test_a_portrait_that_cannot_be_painted_says_why(client: TestClient, parameters: dict[str, str], words: str) -> None:
    response = client.get("/portrait", params=parameters)
    assert response.status_code == 422
    assert words in response.json()["detail"]


def test_too_many_portraits_are_refused(client: TestClient) -> None:
    assert client.post("/portraits", json={"queries": [{"emotion": "fear"}] * 257}).status_code == 422
    assert client.post("/portraits", json={"queries": []}).status_code == 422


def test_no_more_portraits_are_kept_than_there_is_room_for(served_engine: Engine) -> None:
    space = Space(served_engine.bundle)
    points = np.random.default_rng(0).normal(size=(KEPT_PORTRAITS + 60, 64)).astype(np.float32)
    first = space.paint(points[:10])
    space.paint(points)
    assert len(space._painted) == KEPT_PORTRAITS
    np.testing.assert_array_equal(space.paint(points[:10]), first)
