"""The client's lines about a video, from the service and from one that breaks off."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from starlette.types import Receive, Scope, Send

from mien.model.video.decoder import can_decode_videos
from mien.service.app import create_app
from mien.service.client import AsyncClient, Client, ClientError, ServiceError, VideoEnd, VideoFrame, VideoTrack
from mien.service.inference.engine import Engine
from mien.service.settings import Settings
from tests.support.answers import FAST_RETRIES
from tests.support.serving import free_ports, served_app
from tests.support.videos import encode_video, scene

pytestmark = pytest.mark.skipif(not can_decode_videos(), reason="needs the extra 'video'")


@pytest.fixture(scope="module")
def url(served_engine: Engine) -> Iterator[str]:
    with served_app(create_app(served_engine, Settings(rate_per_s=0))) as url:
        yield url


@pytest.fixture(scope="module")
def video() -> bytes:
    return encode_video([scene([(200 + 5 * number, 120)]) for number in range(10)])


def test_lines_of_a_video_are_typed(url: str, video: bytes) -> None:
    with Client(url) as client:
        lines = list(client.classify_video(video, fps=10))
    *frames, track, end = lines
    assert len(frames) == 10
    assert all(isinstance(frame, VideoFrame) and [face.track for face in frame.faces] == [1] for frame in frames)
    assert isinstance(track, VideoTrack)
    assert track.frames == 10
    assert isinstance(end, VideoEnd)
    assert end.complete

    async def ask() -> list[Any]:
        async with AsyncClient(url) as client:
            return [line async for line in client.classify_video(video, fps=10)]

    assert [type(line) for line in asyncio.run(ask())] == [type(line) for line in lines]


def test_reading_may_stop_early(url: str, video: bytes) -> None:
    with Client(url) as client:
        reading = client.classify_video(video)
        assert isinstance(next(reading), VideoFrame)
        reading.close()  # type: ignore[attr-defined]
        assert len(client.classify_video(video).__next__().faces) == 1  # type: ignore[union-attr]


def test_refused_video_is_a_service_error(url: str) -> None:
    with Client(url) as client, pytest.raises(ServiceError, match="expected a video") as caught:
        next(client.classify_video(b"nothing"))
    assert (caught.value.status, caught.value.kind) == (415, "unsupported-video")

    async def ask() -> None:
        async with AsyncClient(url) as client:
            async for _ in client.classify_video(b"nothing"):
                pass

    with pytest.raises(ServiceError, match="expected a video"):
        asyncio.run(ask())


async def breaks_off(scope: Scope, receive: Receive, send: Send) -> None:
    """A server that ends its answer, as if it were whole, after one line; or says something else."""
    if scope["type"] == "http":
        body = (
            b'{"kind":"frame","time_s":0,"frame":0,"faces":[]}\n' if b"fps=1" in scope["query_string"] else b"hello\n"
        )
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": body})


def test_answer_without_an_end_is_a_client_error() -> None:
    with served_app(breaks_off) as url, Client(url, retries=FAST_RETRIES) as client:
        reading = client.classify_video(b"GIF89a", fps=1)
        assert isinstance(next(reading), VideoFrame)
        with pytest.raises(ClientError, match="stopped before its end"):
            next(reading)
        with pytest.raises(ClientError, match="expected a line about a video"):
            next(client.classify_video(b"GIF89a", fps=2))


def test_unreachable_service_is_a_client_error() -> None:
    (port,) = free_ports(1)
    with (
        Client(f"http://127.0.0.1:{port}", retries=FAST_RETRIES) as client,
        pytest.raises(ClientError, match="be reached"),
    ):
        next(client.classify_video(b"GIF89a"))
