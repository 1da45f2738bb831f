"""Limits: bodies, queues and time."""

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from fastapi.testclient import TestClient
from httpx2 import Response
from starlette.types import Message

from mien.model.errors import ConfigError
from mien.service.app import create_app, create_app_on
from mien.service.inference.engine import Engine
from mien.service.inference.runtime import Runtime
from mien.service.settings import Settings, read_settings
from tests.support.answers import CROPPED, form_head, form_scope, problem_kind
from tests.support.engines import SlowEngine


def test_full_queue_is_answered_with_503_at_once(slow: SlowEngine, crop_file: bytes) -> None:
    runtime = Runtime(slow, Settings(queue_images=2, max_images=2))
    with TestClient(create_app_on(runtime)) as client, ThreadPoolExecutor(2) as threads:

        def ask() -> Response:
            return client.post("/classify", params=CROPPED, files={"image": crop_file})

        first = threads.submit(ask)
        assert slow.begun.wait(20)
        two_more = client.post("/classify", params=CROPPED, files=[("images", crop_file)] * 2)
        assert problem_kind(two_more) == (503, "busy")
        assert "with 2 images more there would be more than 2" in two_more.json()["detail"]
        second = threads.submit(ask)
        deadline = time.monotonic() + 20
        while runtime.admission.images.held < 2:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        refused = client.post("/embed", files={"image": b"x"})
        assert problem_kind(refused) == (503, "busy")
        assert refused.headers["retry-after"] == "1"
        assert client.get("/health/ready").status_code == 200, "a full queue is no fault"
        slow.go.set()
        assert first.result().status_code == second.result().status_code == 200
        assert ask().status_code == 200, "what was taken was not given back"
        figures = client.get("/metrics").content
        assert b'mien_rejections_total{problem="busy"} 2.0' in figures
        assert b'mien_requests_total{method="POST",route="/embed",status="503"} 1.0' in figures


def test_answer_that_takes_too_long_is_answered_with_504(slow: SlowEngine, crop_file: bytes) -> None:
    with TestClient(create_app(slow, Settings(timeout_s=0.2))) as client:
        late = client.post("/classify", params=CROPPED, files={"image": crop_file})
        assert problem_kind(late) == (504, "too-late")
        assert "may take 0.2 s" in late.json()["detail"]
        several = client.post("/classify", params=CROPPED, files=[("images", crop_file)] * 3)
        assert problem_kind(several) == (504, "too-late")
        slow.go.set()


def test_bytes_of_all_bodies_are_limited(served_engine: Engine, crop_file: bytes) -> None:
    runtime = Runtime(served_engine, Settings(queue_body_bytes=30_000, max_body_bytes=30_000))
    with TestClient(create_app_on(runtime)) as client:
        runtime.admission.body_bytes.take(29_900)
        assert problem_kind(client.post("/classify", params=CROPPED, files={"image": crop_file})) == (503, "busy")
        runtime.admission.body_bytes.give_back(29_900)
        assert client.post("/classify", params=CROPPED, files={"image": crop_file}).status_code == 200
        assert runtime.admission.body_bytes.held == 0
        assert runtime.admission.images.held == 0


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


def test_declared_length_over_the_limit_is_refused(served_engine: Engine, crop_file: bytes) -> None:
    with TestClient(create_app(served_engine, Settings(max_body_bytes=100))) as client:
        answer = client.post("/classify", params=CROPPED, files={"image": crop_file})
        assert problem_kind(answer) == (413, "body-too-large")
        assert problem_kind(client.post("/retrieve", json={"query": {"id": "x" * 200}})) == (413, "body-too-large")


def test_bytes_and_pixels_of_an_image_are_limited(
    served_engine: Engine, crop_file: bytes, photograph_file: bytes
) -> None:
    from mien.service.inference.engine import load_engine

    for settings in (Settings(max_image_bytes=len(crop_file) - 1), Settings(max_image_pixels=48 * 48 - 1)):
        with TestClient(create_app(load_engine(settings), settings)) as client:
            answer = client.post("/classify", params=CROPPED, files={"image": crop_file})
            assert problem_kind(answer) == (413, "image-too-large")


def test_settings_that_would_refuse_every_request_are_refused() -> None:
    with pytest.raises(ConfigError, match="--max-images should be at most --queue-images"):
        read_settings({}, queue_images=3, max_images=4)
    with pytest.raises(ConfigError, match="--max-body-bytes should be at most --queue-body-bytes"):
        read_settings({}, queue_body_bytes=1000)
