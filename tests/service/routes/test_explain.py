"""Explanations, over HTTP."""

import base64
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from mien.index.gallery.face import GalleryFace
from mien.model.faces.thumbnail import crop_of_thumbnail
from mien.service.app import create_app
from mien.service.inference.engine import Engine
from mien.service.settings import Settings
from tests.support.answers import CROPPED
from tests.support.data import london_photographs, needs_london
from tests.support.engines import gallery_engine
from tests.support.images import encode


@pytest.fixture(scope="module")
def client(served_engine: Engine) -> Iterator[TestClient]:
    with TestClient(create_app(served_engine, Settings(rate_per_s=0))) as client:
        yield client


def test_explanation_has_the_documented_fields(client: TestClient, crop_file: bytes) -> None:
    named = client.post("/classify", params=CROPPED, files={"image": crop_file}).json()["faces"][0]
    answer = client.post("/explain", params=CROPPED, files={"image": crop_file}).json()
    assert answer["emotion"] == named["emotion"]
    assert answer["probability"] == pytest.approx(named["posterior"][named["emotion"]], abs=1e-4)
    assert np.array(answer["heat"]).shape == (12, 12)
    crop = np.asarray(Image.open(BytesIO(base64.b64decode(answer["crop"]))))
    np.testing.assert_array_equal(crop, np.asarray(Image.open(BytesIO(crop_file)).convert("L")))


def test_another_emotion_can_be_explained(client: TestClient, crop_file: bytes) -> None:
    answer = client.post("/explain", params=CROPPED | {"emotion": "fear"}, files={"image": crop_file}).json()
    assert answer["emotion"] == "fear"


@pytest.mark.parametrize(
    ("parameters", "words"),
    [({"face": "1"}, "the image has 1 faces"), ({"face": "-1"}, "face"), ({"emotion": "joy"}, "got 'joy'")],
)
def test_requests_that_cannot_be_explained_are_refused(
    client: TestClient, crop_file: bytes, parameters: dict[str, str], words: str
) -> None:
    response = client.post("/explain", params=CROPPED | parameters, files={"image": crop_file})
    assert response.status_code == 422
    assert words in response.json()["detail"]


def test_bad_images_are_refused_as_by_classify(client: TestClient) -> None:
    assert client.post("/explain", files={"image": b"no picture"}).status_code == 415
    assert client.post("/explain", files={"other": b"x"}).status_code == 422
    assert client.post("/explain", json={"image": ""}).status_code == 422
    text = client.post("/explain", content=b"x", headers={"Content-Type": "text/plain"})
    assert text.status_code == 422
    assert "got text/plain" in text.json()["detail"]


@needs_london
def test_happiness_of_a_smile_rests_on_the_mouth(client: TestClient) -> None:
    photographs = london_photographs("happiness")[:6]
    lower = []
    for photograph in photographs:
        answer = client.post(
            "/explain", params={"emotion": "happiness"}, files={"image": photograph.read_bytes()}
        ).json()
        heat = np.clip(np.array(answer["heat"]), 0, None)
        if answer["probability"] > 0.5:
            lower.append(heat[6:].sum() > heat[:6].sum())
    assert np.mean(lower) > 0.7


def test_comparison_with_a_match_has_the_documented_fields(
    client: TestClient, served_engine: Engine, crop_file: bytes
) -> None:
    found = client.post("/retrieve", params=CROPPED | {"k": "3"}, files={"image": crop_file}).json()["faces"][0]
    nearest = found["matches"][2]
    answer = client.post("/explain", params=CROPPED | {"match": nearest["id"]}, files={"image": crop_file}).json()
    match = answer["match"]
    assert match["id"] == nearest["id"]
    assert match["distance"] == pytest.approx(nearest["distance"], abs=1e-3)
    assert match["label"] == nearest["label"]
    assert np.array(match["heat"]).shape == (12, 12)
    assert match["picture"] is None  # the gallery that ships has no photographs
    posteriors = np.array([list(match[name].values()) for name in ("query_posterior", "posterior")])
    np.testing.assert_allclose(posteriors.sum(axis=1), 1, atol=1e-4)
    assert match["overlap"] == pytest.approx(posteriors.min(axis=0).sum(), abs=1e-4)
    explained = sum(each["share"] for each in match["directions"])
    assert explained + match["unexplained"] == pytest.approx(1, abs=1e-4)
    assert len(match["directions"]) == len(served_engine.bundle.mixture.emotions)
    assert answer["heat"] == client.post("/explain", params=CROPPED, files={"image": crop_file}).json()["heat"]


def test_point_without_an_image_is_compared_without_heat(client: TestClient, served_engine: Engine) -> None:
    face = served_engine.bundle.gallery.entries[5].id
    answer = client.post("/explain", json={"query": {"emotion": "surprise"}, "match": face}).json()
    assert answer["emotion"] == answer["match"]["query_emotion"] == "surprise"
    assert answer["heat"] is answer["crop"] is answer["match"]["heat"] is answer["match"]["picture"] is None
    same = client.post("/explain", json={"query": {"id": face}, "match": face}).json()["match"]
    assert same["distance"] == 0
    assert same["overlap"] == pytest.approx(1, abs=1e-6)
    assert same["unexplained"] == 0


def test_unknown_matches_are_refused(client: TestClient, crop_file: bytes) -> None:
    unknown = client.post("/explain", params=CROPPED | {"match": "nobody"}, files={"image": crop_file})
    assert unknown.status_code == 422
    assert "'nobody'" in unknown.json()["detail"]
    assert client.post("/explain", json={"query": {"emotion": "joy"}, "match": "x"}).status_code == 422
    assert client.post("/explain", json={"query": {"emotion": "fear"}}).status_code == 422
    beside = client.post("/explain", params={"match": "x"}, json={"query": {"emotion": "fear"}, "match": "x"})
    assert "got the parameters match" in beside.json()["detail"]


@needs_london
def test_closeness_of_two_smiles_rests_on_their_mouths(client: TestClient, served_engine: Engine) -> None:
    """Photographs of people against the typical happy face of the gallery."""
    mixture, gallery = served_engine.bundle.mixture, served_engine.bundle.gallery
    match = gallery.search(mixture.centroids[[mixture.emotions.index("happiness")]].astype(np.float32), 1)[0][0]
    lower = []
    for photograph in london_photographs("happiness")[:8]:
        answer = client.post(
            "/explain", params={"match": match.entry.id}, files={"image": photograph.read_bytes()}
        ).json()
        if answer["emotion"] == "happiness":
            heat = np.clip(np.array(answer["match"]["heat"]), 0, None)
            lower.append(heat[6:].sum() > heat[:6].sum())
    assert len(lower) >= 3
    assert np.mean(lower) > 0.7


@pytest.fixture
def gallery_client(served_engine: Engine, tmp_path: Path) -> Iterator[TestClient]:
    """A service with a writable gallery that keeps thumbnails."""
    with (
        gallery_engine(served_engine, tmp_path / "gallery") as engine,
        TestClient(create_app(engine, Settings(gallery_thumbnails=True, rate_per_s=0))) as client,
    ):
        yield client


@needs_london
def test_both_sides_have_heat_where_the_match_has_a_thumbnail(gallery_client: TestClient) -> None:
    smiles = london_photographs("happiness")[:3]
    for smile in smiles:
        said = f'[{{"id": "{smile.stem}"}}]'
        added = gallery_client.post("/gallery", files={"images": smile.read_bytes()}, data={"items": said})
        assert added.status_code == 201, added.text
    first = gallery_client.post(
        "/explain", params={"match": smiles[1].stem}, files={"image": smiles[0].read_bytes()}
    ).json()["match"]
    kept = gallery_client.get(f"/gallery/{smiles[1].stem}").json()["thumbnail"]
    shown = np.asarray(Image.open(BytesIO(base64.b64decode(first["picture"]["crop"]))))
    np.testing.assert_array_equal(crop_of_thumbnail(base64.b64decode(kept)), shown)
    by_ids = gallery_client.post("/explain", json={"query": {"id": smiles[0].stem}, "match": smiles[1].stem}).json()
    assert by_ids["crop"] is not None
    own, by_thumbnail = np.array(first["heat"]), np.array(by_ids["match"]["heat"])
    assert np.corrcoef(own.ravel(), by_thumbnail.ravel())[0, 1] > 0.9
    back = gallery_client.post("/explain", json={"query": {"id": smiles[1].stem}, "match": smiles[0].stem}).json()
    np.testing.assert_allclose(back["match"]["picture"]["heat"], by_thumbnail, atol=1e-3)


def test_unreadable_thumbnail_is_ignored(served_engine: Engine, tmp_path: Path) -> None:
    with (
        gallery_engine(served_engine, tmp_path / "gallery") as engine,
        TestClient(create_app(engine, Settings(rate_per_s=0))) as client,
    ):
        for number, thumbnail in enumerate([b"no picture", encode(Image.new("L", (12, 12)))]):
            engine.gallery.add([GalleryFace(f"f{number}", np.full(64, number, np.float32), thumbnail=thumbnail)])
        for face in ("f0", "f1"):
            answer = client.post("/explain", json={"query": {"id": "f0"}, "match": face})
            assert answer.status_code == 200
            assert answer.json()["crop"] is answer.json()["match"]["picture"] is None
