"""The service as it is deployed: a process that answers over a socket."""

import json
import signal
from collections.abc import Iterator

import httpx2
import pytest

from mien.model.emotions import EMOTIONS
from tests.support.cartoon import cartoon
from tests.support.data import london_photographs, needs_london
from tests.support.images import encode
from tests.support.serving import served_process


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with served_process() as served:
        yield served.url


@needs_london
def test_photographs_are_classified(url: str) -> None:
    right, wrong = 0, []
    photographs = london_photographs()
    assert len(photographs) == 40
    for photograph in photographs:
        answer = httpx2.post(f"{url}/classify", files={"image": photograph.read_bytes()}, timeout=30).json()
        assert len(answer["faces"]) == 1, photograph
        face = answer["faces"][0]
        assert tuple(face["posterior"]) == EMOTIONS
        assert 0.5 < face["detection"] <= 1
        assert face["sub_class"].startswith(f"{face['emotion']}/")
        x, y, width, height = face["box"]
        assert 300 < width < 1000
        assert x < 675 < x + width, "the face stands in the middle of the photograph"
        assert y < 675 < y + height
        if face["emotion"] == photograph.parent.name:
            right += 1
        else:
            wrong.append((photograph.parent.name, photograph.name, face["emotion"]))
    # All neutral faces, and all but faint smiles. The aim is 36; what falls short is in the README.
    assert right >= 32, wrong


@needs_london
def test_smiles_find_smiles(url: str) -> None:
    shares = []
    for photograph in london_photographs("happiness"):
        answer = httpx2.post(f"{url}/retrieve", params={"k": 10}, files={"image": photograph.read_bytes()}, timeout=30)
        matches = answer.json()["faces"][0]["matches"]
        shares.append(sum(match["label"] == "happiness" for match in matches) / 10)
    assert sum(shares) / len(shares) > 0.6  # all ten of a smile's matches, none of a faint one's


def test_docs_are_served(url: str) -> None:
    assert json.loads(httpx2.get(f"{url}/openapi.json").text)["info"]["title"] == "mien"
    assert httpx2.get(f"{url}/docs").status_code == 200


def test_sigterm_ends_the_service_and_the_log_has_no_file_names() -> None:
    with served_process() as served:
        face = encode(cartoon(200), "JPEG")
        answer = httpx2.post(f"{served.url}/classify", files={"image": ("holiday.jpg", face)}, timeout=30)
        assert answer.status_code == 200
        assert served.terminate() in (0, -signal.SIGTERM)
        log = served.log()
    assert "/classify" in log
    assert "Traceback" not in log
    assert ".jpg" not in log
