"""Random and damaged input: no server error, no crash, no hang, and answers as in the OpenAPI document."""

import json
import random
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from fastapi import FastAPI
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from mien.model.video.decoder import can_decode_videos
from mien.service.app import create_app
from mien.service.inference.engine import Engine
from mien.service.settings import Settings
from tests.support.cartoon import cartoon
from tests.support.images import encode
from tests.support.serving import served_app
from tests.support.videos import CODECS, encode_video, scene

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
MUTANTS = 100
"""How many of each format."""

VIDEO_MUTANTS = 30
"""How many of each format; each is decoded in another process."""

LIMITS = Settings(rate_per_s=0, stream_fps=1000, max_image_pixels=4_000_000, drain_s=0)


@pytest.fixture(scope="module")
def app(served_engine: Engine) -> FastAPI:
    return create_app(served_engine, LIMITS)


@pytest.fixture(scope="module")
def client(app: FastAPI) -> Iterator[TestClient]:
    with TestClient(app, raise_server_exceptions=False) as client:
        yield client


def seeds() -> dict[str, list[bytes]]:
    """Small files of each format, in several modes."""
    pictures = [Image.fromarray(cartoon(64)), Image.fromarray(cartoon(48)).convert("L")]
    pictures += [pictures[0].convert("P"), pictures[0].convert("RGBA"), pictures[0].convert("1")]
    found: dict[str, list[bytes]] = {form: [] for form in FORMATS}
    for form in FORMATS:
        for picture in pictures:
            shown = picture if form not in ("JPEG", "WEBP") or picture.mode in ("RGB", "L") else picture.convert("RGB")
            found[form].append(encode(shown, form))
    return found


def mutated(file: bytes, chance: random.Random) -> bytes:
    """The file with bytes changed, cut out, put in, repeated or left off."""
    data = bytearray(file)
    for _ in range(chance.choice((1, 1, 2, 4, 16))):
        at = chance.randrange(max(1, len(data)))
        span = chance.choice((1, 2, 4, 64))
        match chance.randrange(6):
            case 0:
                data[at : at + 1] = bytes([chance.randrange(256)])
            case 1:
                data[at : at + span] = b""
            case 2:
                data[at:at] = chance.randbytes(span)
            case 3:
                data[at:at] = data[at : at + span] * 3
            case 4:
                data[at : at + span] = chance.choice((b"\xff", b"\x00", b"\x7f")) * span
            case 5:
                del data[at:]
    return bytes(data)


@pytest.mark.parametrize("form", FORMATS)
def test_mutated_images_cause_no_server_error(client: TestClient, form: str) -> None:
    chance = random.Random(form)  # noqa: S311
    statuses: Counter[int] = Counter()
    slowest = 0.0
    files = seeds()[form]
    for number in range(MUTANTS):
        file = mutated(files[number % len(files)], chance)
        began = time.monotonic()
        cropped = "true" if number % 4 else "false"
        answer = client.post("/classify", params={"already_cropped": cropped}, files={"image": file})
        slowest = max(slowest, time.monotonic() - began)
        statuses[answer.status_code] += 1
    assert set(statuses) <= {200, 413, 415, 422}, statuses
    assert slowest < 10, f"a file of some kilobytes took {slowest:.1f} s"
    assert client.get("/health/ready").status_code == 200


@pytest.mark.skipif(not can_decode_videos(), reason="needs the extra 'video'")
@pytest.mark.parametrize("form", CODECS)
def test_mutated_videos_cause_no_server_error(client: TestClient, form: str) -> None:
    """The decoder may crash, since it is another process; the service answers."""
    chance = random.Random(form)  # noqa: S311
    statuses: Counter[int] = Counter()
    slowest = 0.0
    seed = encode_video([scene([(60 + 5 * number, 60)], side=96, width=160, height=120) for number in range(10)], form)
    for _ in range(VIDEO_MUTANTS):
        file = mutated(seed, chance)
        began = time.monotonic()
        answer = client.post("/classify/video", params={"fps": 2}, files={"video": file})
        slowest = max(slowest, time.monotonic() - began)
        statuses[answer.status_code] += 1
        if answer.status_code == 200:
            end = json.loads(answer.text.splitlines()[-1])
            assert end["kind"] == "end"
            assert end["complete"] or end["problem"]["status"] in {413, 422}
    assert set(statuses) <= {200, 413, 415, 422}, statuses
    assert statuses[200], "some damage does no harm"
    assert slowest < 30, f"a file of some kilobytes took {slowest:.1f} s"
    assert client.get("/health/ready").status_code == 200


def test_mutated_frames_do_not_end_a_stream(client: TestClient) -> None:
    chance = random.Random("stream")  # noqa: S311
    files = [file for form in ("JPEG", "PNG", "WEBP") for file in seeds()[form]]
    statuses: Counter[int] = Counter()
    with client.websocket_connect("/stream?already_cropped=true") as stream:
        for number in range(MUTANTS):
            stream.send_bytes(mutated(files[number % len(files)], chance))
            found = json.loads(stream.receive_text())
            statuses[found["problem"]["status"] if found["problem"] else 200] += 1
    assert set(statuses) <= {200, 413, 415, 422}, statuses


@settings(max_examples=100, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(body=st.binary(max_size=2000), kind=st.sampled_from(["application/json", "multipart/form-data; boundary=b"]))
def test_any_body_causes_no_server_error(client: TestClient, body: bytes, kind: str) -> None:
    for sent in (body, b"--b\r\n" + body, b'{"query": ' + body, body + b"\r\n--b--\r\n"):
        answer = client.post("/retrieve", content=sent, headers={"content-type": kind})
        assert 400 <= answer.status_code < 500, (answer.status_code, sent)
        assert answer.headers["content-type"] == "application/problem+json"


@pytest.fixture
def url(served_engine: Engine) -> Iterator[str]:
    """The address of the app on a socket."""
    with served_app(create_app(served_engine, LIMITS), log_level="critical", ws="auto") as url:
        yield url


def test_answers_are_those_of_the_openapi_document(app: FastAPI, url: str) -> None:
    """Every operation, with the requests that schemathesis generates for it."""
    schema = schemathesis.openapi.from_dict(app.openapi())
    statuses: Counter[int] = Counter()
    tried = set()
    for result in schema.get_all_operations():
        assert isinstance(result, Ok)
        operation = result.ok()
        tried.add(operation.label)
        if operation.path == "/admin/reload":
            continue  # every request would load the bundle again

        @settings(
            max_examples=25, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
        )
        @given(case=operation.as_strategy())
        def ask(case: Any) -> None:
            response = case.call(base_url=url)
            statuses[response.status_code] += 1
            case.validate_response(
                response,
                checks=[
                    not_a_server_error,
                    status_code_conformance,
                    content_type_conformance,
                    response_schema_conformance,
                ],
            )

        ask()
    assert {
        "POST /classify",
        "POST /retrieve",
        "POST /embed",
        "POST /classify/video",
        "GET /health/ready",
        "GET /metrics",
    } <= tried
    assert statuses[200]
