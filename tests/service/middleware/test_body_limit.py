import asyncio

import pytest
from fastapi.testclient import TestClient
from starlette.types import Message

from mien.service.app import create_app, create_app_on
from mien.service.errors import BodyTooSlowError
from mien.service.inference.admission import CALLER
from mien.service.inference.engine import Engine
from mien.service.inference.runtime import Runtime
from mien.service.middleware.body_limit import UploadPace
from mien.service.settings import Settings
from tests.support.answers import CROPPED, form_head, form_scope, problem_kind


def test_declared_length_over_the_limit_is_refused(served_engine: Engine, crop_file: bytes) -> None:
    with TestClient(create_app(served_engine, Settings(max_body_bytes=100))) as client:
        answer = client.post("/classify", params=CROPPED, files={"image": crop_file})
        assert problem_kind(answer) == (413, "body-too-large")
        assert problem_kind(client.post("/retrieve", json={"query": {"id": "x" * 200}})) == (413, "body-too-large")


def test_body_that_does_not_arrive_is_answered_with_408(served_engine: Engine) -> None:
    """A slow-loris body is refused after a while, and its bytes are given back."""
    runtime = Runtime(served_engine, Settings(timeout_s=0.2))
    app = create_app_on(runtime)
    sent: list[Message] = []
    body = form_head("image")

    async def ask() -> None:
        async def receive() -> Message:
            if not came:
                came.append(True)
                return {"type": "http.request", "body": body, "more_body": True}
            await asyncio.sleep(20)
            raise AssertionError

        async def send(message: Message) -> None:
            sent.append(message)

        came: list[bool] = []
        scope = form_scope("/classify")
        async with app.router.lifespan_context(app):
            await asyncio.wait_for(app(scope, receive, send), 10)

    asyncio.run(ask())
    assert sent[0]["status"] == 408
    assert b"body-too-slow" in sent[1]["body"]
    assert runtime.admission.body_bytes.held == 0


def test_upload_that_stalls_is_refused_and_gives_back_its_bytes() -> None:
    pace = UploadPace(4096, 30, 0)
    pace.check(0, 4.9)
    pace.check(20_000_000, 5)
    pace.check(20_000_000, 9.9)
    with pytest.raises(BodyTooSlowError, match="not stall: in 5 s it had 1666667 bytes to bring, got 0"):
        pace.check(20_000_000, 10)


@pytest.mark.parametrize("bytes_per_s", [4100, 100_000, 10_000_000])
def test_upload_at_a_constant_pace_is_fast_enough(bytes_per_s: int) -> None:
    pace = UploadPace(4096, 30, 0)
    for second in range(30):
        pace.check(bytes_per_s * second, second)


def test_upload_below_the_lowest_rate_is_refused() -> None:
    pace = UploadPace(4096, 30, 0)
    with pytest.raises(BodyTooSlowError, match="4096 bytes a second"):
        pace.check(4095 * 5, 5)


def test_large_bodies_leave_room_for_small_ones(served_engine: Engine, crop_file: bytes) -> None:
    runtime = Runtime(served_engine, Settings(queue_body_bytes=64 * 2**20, max_video_bytes=2**20))
    with TestClient(create_app_on(runtime)) as client:
        for caller in ("a", "b"):
            CALLER.set(caller)
            runtime.admission.large_body_bytes.take(24 * 2**20)
        assert client.post("/classify", params=CROPPED, files={"image": crop_file}).status_code == 200
        large = client.post("/classify", files={"image": bytes(2 * 2**20)})
        assert problem_kind(large) == (503, "busy")
        assert runtime.admission.body_bytes.held == 0
        assert runtime.admission.large_body_bytes.held == 48 * 2**20


def test_bytes_of_all_bodies_are_limited(served_engine: Engine, crop_file: bytes) -> None:
    runtime = Runtime(served_engine, Settings(queue_body_bytes=30_000, max_body_bytes=30_000))
    with TestClient(create_app_on(runtime)) as client:
        runtime.admission.body_bytes.take(29_900)
        assert problem_kind(client.post("/classify", params=CROPPED, files={"image": crop_file})) == (503, "busy")
        runtime.admission.body_bytes.give_back(29_900)
        assert client.post("/classify", params=CROPPED, files={"image": crop_file}).status_code == 200
        assert runtime.admission.body_bytes.held == 0
        assert runtime.admission.images.held == 0
