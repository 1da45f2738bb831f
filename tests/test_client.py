"""The client against the service, and against servers that are busy, slow to come or something else."""

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send

from model.votes import EMOTIONS
from service.app import create_app
from service.client import AsyncClient, Client, ClientError, Retries, ServiceError
from service.engine import Engine
from service.keys import create_key
from service.settings import Settings

FAST = Retries(most=3, first_pause_s=0.01, longest_pause_s=0.05)


def serve(app: Any) -> Iterator[str]:
    """A server in a thread, on a free port."""
    listening = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", ws="none"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    server.should_exit = True
    thread.join()
    listening.close()


class Busy:
    """A server that answers with these statuses, in turn, then with a point."""

    def __init__(self, *statuses: int) -> None:
        self.statuses = list(statuses)
        self.asked = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        while (await receive()).get("more_body"):
            pass
        self.asked += 1
        status = self.statuses.pop(0) if self.statuses else 200
        body = b'{"emotion":"fear","posterior":{},"embedding":[],"matches":[],"later":1}'
        if status != 200:
            body = b'{"type":"urn:mien:busy","title":"","status":%d,"detail":"too busy"}' % status
        headers = [(b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})


@pytest.fixture
def busy() -> Iterator[Callable[..., tuple[Busy, str]]]:
    running: list[Iterator[str]] = []

    def start(*statuses: int) -> tuple[Busy, str]:
        app = Busy(*statuses)
        running.append(serve(app))
        return app, next(running[-1])

    yield start
    for server in running:
        next(server, None)


@pytest.fixture(scope="module")
def keyed(served_engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """The service, and a key for it."""
    keys = tmp_path_factory.mktemp("keys") / "keys.json"
    key = create_key(keys, "someone", "read")
    for url in serve(create_app(served_engine, Settings(keys=keys, rate_per_s=0))):
        yield url, key


def test_every_question_has_its_answer(keyed: tuple[str, str], crop_file: bytes, tmp_path: Path) -> None:
    url, key = keyed
    path = tmp_path / "face.png"
    path.write_bytes(crop_file)
    with Client(url, key=key) as client:
        (face,) = client.classify(crop_file, already_cropped=True).faces
        assert set(face.posterior) == set(EMOTIONS)
        assert client.classify(path, already_cropped=True).faces == [face]
        (matched,) = client.retrieve(str(path), k=3, already_cropped=True).faces
        assert len(matched.matches) == 3
        (embedded,) = client.embed(path, already_cropped=True).faces
        assert len(embedded.embedding) == 64
        found = client.nearest({"embedding": embedded.embedding}, k=3)
        assert [match.id for match in found.matches] == [match.id for match in matched.matches]
        assert client.nearest({"emotion": "surprise"}).emotion == "surprise"


def test_the_other_client_answers_the_same(keyed: tuple[str, str], crop_file: bytes) -> None:
    url, key = keyed

    async def ask() -> list[Any]:
        async with AsyncClient(url, key=key) as client:
            return [
                await client.classify(crop_file, already_cropped=True),
                await client.retrieve(crop_file, already_cropped=True),
                await client.embed(crop_file, already_cropped=True),
                await client.nearest({"emotion": "fear"}),
            ]

    with Client(url, key=key) as client:
        wanted = [
            client.classify(crop_file, already_cropped=True),
            client.retrieve(crop_file, already_cropped=True),
            client.embed(crop_file, already_cropped=True),
            client.nearest({"emotion": "fear"}),
        ]
    assert asyncio.run(ask()) == wanted


def test_of_many_images_each_is_answered_in_its_place(keyed: tuple[str, str], crop_file: bytes) -> None:
    url, key = keyed
    images = [crop_file, b"no picture", crop_file]

    async def ask() -> list[Any]:
        async with AsyncClient(url, key=key) as client:
            return [answer async for answer in client.classify_all(images, already_cropped=True, at_once=2)]

    with Client(url, key=key) as client:
        answers = list(client.classify_all(images, already_cropped=True))
    for first, second, third in (answers, asyncio.run(ask())):
        assert first == third
        assert isinstance(second, ServiceError)
        assert (second.status, second.kind) == (415, "unsupported-image")


def test_a_refusal_says_what_the_service_said(keyed: tuple[str, str]) -> None:
    url, key = keyed
    with Client(url, key=key) as client, pytest.raises(ServiceError, match="got 'joy'") as refused:
        client.nearest({"emotion": "joy"})
    assert (refused.value.status, refused.value.kind) == (422, "query")
    with Client(url) as client, pytest.raises(ServiceError) as refused:
        client.nearest({"emotion": "fear"})
    assert refused.value.status == 401


@pytest.mark.parametrize("statuses", [(503,), (429, 503, 429)])
def test_a_busy_service_is_asked_again(busy: Callable[..., tuple[Busy, str]], statuses: tuple[int, ...]) -> None:
    app, url = busy(*statuses)
    with Client(url, retries=FAST) as client:
        assert client.nearest({"emotion": "fear"}).emotion == "fear"
    assert app.asked == len(statuses) + 1

    async def ask(url: str) -> str:
        async with AsyncClient(url, retries=FAST) as client:
            return (await client.nearest({"emotion": "fear"})).emotion

    app, url = busy(*statuses)
    assert asyncio.run(ask(url)) == "fear"
    assert app.asked == len(statuses) + 1


def test_it_gives_up_in_the_end(busy: Callable[..., tuple[Busy, str]]) -> None:
    app, url = busy(*[503] * 9)
    with Client(url, retries=FAST) as client, pytest.raises(ServiceError, match="too busy"):
        client.nearest({"emotion": "fear"})
    assert app.asked == 4


def test_what_is_wrong_is_not_asked_again(busy: Callable[..., tuple[Busy, str]]) -> None:
    app, url = busy(422)
    with Client(url, retries=FAST) as client, pytest.raises(ServiceError):
        client.nearest({"emotion": "fear"})
    assert app.asked == 1


def test_where_nobody_listens() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    with Client(url, retries=FAST) as client, pytest.raises(ClientError, match="cannot be reached"):
        client.nearest({"emotion": "fear"})


def test_another_server_is_noticed(keyed: tuple[str, str]) -> None:
    async def teapot(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"tea"})

    for url in serve(teapot):
        with Client(url, retries=FAST) as client, pytest.raises(ClientError, match="answered something else"):
            client.nearest({"emotion": "fear"})


def test_pauses_grow_but_not_for_ever_and_heed_the_service() -> None:
    import httpx

    retries = Retries(most=5, first_pause_s=1, longest_pause_s=3)
    pauses = [retries.pause_s(attempt, None) for attempt in range(1, 7)]
    for pause, most in zip(pauses[:5], (1, 2, 3, 3, 3), strict=True):
        assert pause is not None
        assert most / 2 <= pause <= most
    assert pauses[5] is None
    asked = retries.pause_s(1, httpx.Response(429, headers={"Retry-After": "7"}))
    assert asked == 7
