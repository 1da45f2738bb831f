"""What an emotion rests on, over HTTP."""

import base64
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from service.app import create_app
from service.engine import Engine
from service.settings import Settings

CROPPED = {"already_cropped": "true"}


@pytest.fixture(scope="module")
def client(served_engine: Engine) -> Iterator[TestClient]:
    with TestClient(create_app(served_engine, Settings(rate_per_s=0))) as client:
        yield client


def test_it_answers_as_documented(client: TestClient, crop_file: bytes) -> None:
    named = client.post("/classify", params=CROPPED, files={"image": crop_file}).json()["faces"][0]
    answer = client.post("/explain", params=CROPPED, files={"image": crop_file}).json()
    assert answer["emotion"] == named["emotion"]
    assert answer["probability"] == pytest.approx(named["posterior"][named["emotion"]], abs=1e-4)
    assert np.array(answer["heat"]).shape == (12, 12)
    crop = np.asarray(Image.open(BytesIO(base64.b64decode(answer["crop"]))))
    np.testing.assert_array_equal(crop, np.asarray(Image.open(BytesIO(crop_file)).convert("L")))


def test_another_emotion_can_be_asked_about(client: TestClient, crop_file: bytes) -> None:
    answer = client.post("/explain", params=CROPPED | {"emotion": "fear"}, files={"image": crop_file}).json()
    assert answer["emotion"] == "fear"


@pytest.mark.parametrize(
    ("parameters", "words"),
    [({"face": "1"}, "the image has 1 faces"), ({"face": "-1"}, "face"), ({"emotion": "joy"}, "got 'joy'")],
)
def test_what_cannot_be_explained(client: TestClient, crop_file: bytes, parameters: dict[str, str], words: str) -> None:
    response = client.post("/explain", params=CROPPED | parameters, files={"image": crop_file})
    assert response.status_code == 422
    assert words in response.json()["detail"]


def test_bad_images_are_refused_as_elsewhere(client: TestClient) -> None:
    assert client.post("/explain", files={"image": b"no picture"}).status_code == 415
    assert client.post("/explain", files={"other": b"x"}).status_code == 422
    assert client.post("/explain", json={"image": ""}).status_code == 422


def test_a_smile_rests_on_the_mouth(client: TestClient, london_root: Path) -> None:
    photographs = sorted((london_root / "happiness").glob("*.jpg"))[:6]
    lower = []
    for photograph in photographs:
        answer = client.post(
            "/explain", params={"emotion": "happiness"}, files={"image": photograph.read_bytes()}
        ).json()
        heat = np.clip(np.array(answer["heat"]), 0, None)
        if answer["probability"] > 0.5:
            lower.append(heat[6:].sum() > heat[:6].sum())
    assert np.mean(lower) > 0.7
