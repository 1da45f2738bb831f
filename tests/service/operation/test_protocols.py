"""Limits of a connection, on a real socket: what a client may send and hold before and after its request."""

import asyncio
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send

from mien.service.middleware.early_answer import EarlyAnswer
from mien.service.operation import protocols
from mien.service.operation.connections import ConnectionLimits, Connections
from mien.service.operation.metrics import Metrics, resident_bytes
from mien.service.operation.protocols import limited_protocols
from tests.support.serving import served_by_uvicorn

HEAD = b"GET / HTTP/1.1\r\nHost: x\r\n"
ANSWER = b"HTTP/1.1 200 OK"


async def small(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers with the number of headers, without reading the body."""
    body = str(len(scope["headers"])).encode()
    await send(
        {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]},
    )
    await send({"type": "http.response.body", "body": body})


async def reading(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers with the size of the body."""
    size, more = 0, True
    while more:
        message = await receive()
        size += len(message.get("body", b""))
        more = message.get("more_body", False)
    scope["headers"][:] = [(b"x", b"x")] * size
    await small(scope, receive, send)


def large(size: int) -> Any:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % size)]})
        await send({"type": "http.response.body", "body": bytes(size)})

    return app


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    assert scope["type"] == "websocket"
    await receive()
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] == "websocket.receive":
        await send({"type": "websocket.send", "bytes": b"%d" % len(message.get("bytes") or b"")})


@contextmanager
def served(app: Any, metrics: Metrics | None = None, **limits: Any) -> Iterator[int]:
    """The port of an app, with these limits."""
    http, websocket = limited_protocols(Connections(ConnectionLimits(**limits), metrics or Metrics()))
    config = uvicorn.Config(
        EarlyAnswer(app), http=http, ws=websocket, lifespan="off", timeout_keep_alive=1, log_level="critical"
    )
    with served_by_uvicorn(config) as url:
        yield int(url.rpartition(":")[2])


@contextmanager
def connected(port: int, sent: bytes = b"") -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
        client.sendall(sent)
        yield client


def rest(client: socket.socket) -> bytes:
    """Everything until the connection ends."""
    read = b""
    try:
        while chunk := client.recv(65536):
            read += chunk
    except ConnectionError:
        pass
    return read


def answer_of(client: socket.socket) -> bytes:
    """One answer, with its body."""
    read = b""
    while b"\r\n\r\n" not in read:
        chunk = client.recv(65536)
        assert chunk, read
        read += chunk
    head, _, body = read.partition(b"\r\n\r\n")
    size = int(head.partition(b"content-length: ")[2].split(b"\r\n")[0])
    while len(body) < size:
        body += client.recv(65536)
    return head + b"\r\n\r\n" + body


def send_until_refused(client: socket.socket, data: bytes, times: int) -> bool:
    """Whether the connection ended before all was sent."""
    try:
        for _ in range(times):
            client.sendall(data)
    except OSError:
        return True
    return False


def waited(condition: Callable[[], bool], longest_s: float = 20.0) -> bool:
    deadline = time.monotonic() + longest_s
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.02)
    return condition()


@pytest.mark.parametrize(
    "head",
    [
        HEAD + b"a: " + b"b" * 70_000,
        HEAD + b"".join(b"a%d: b\r\n" % number for number in range(300)) + b"\r\n",
        HEAD + b"a: b\r\n" * 300 + b"\r\n",
        b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /" + b"a" * 600_000,
        HEAD + b"a" * 600_000,
        HEAD + b"a:\r\n" * 15_000,
    ],
)
def test_head_has_a_limit(head: bytes) -> None:
    with served(small) as port, connected(port) as client:
        send_until_refused(client, head, 1)
        if head.endswith(b"b"):
            send_until_refused(client, b"b" * 70_000, 4)
        answer = rest(client)
        assert not answer or answer.startswith(b"HTTP/1.1 431 ")
        with connected(port, HEAD + b"a: " + b"b" * 60_000 + b"\r\n\r\n") as longest:
            assert longest.recv(100).startswith(ANSWER)


def test_unfinished_heads_take_little_memory() -> None:
    """From one address, as many as there may be, each with as many headers as there may be."""
    with served(small, per_address=200) as port:
        before = resident_bytes()
        clients = [socket.create_connection(("127.0.0.1", port), timeout=5) for _ in range(200)]
        for client in clients:
            send_until_refused(client, HEAD + b"a:\r\n" * 250 + b"b: " + b"c" * 60_000, 1)
        time.sleep(0.2)
        assert resident_bytes() - before < 64 * 2**20
        for client in clients:
            client.close()


def test_endless_head_is_cut_off() -> None:
    with served(small) as port, connected(port, HEAD) as client:
        assert send_until_refused(client, b"".join(b"a%d: b\r\n" % number for number in range(20_000)), 60)


@pytest.mark.parametrize(
    "body", [b"0\r\n" + b"a: b\r\n" * 60_000, b"1" + b";x" * 300_000 + b"\r\n", b"1\r\nx\r\n0\r\na: " + b"b" * 600_000]
)
def test_trailers_and_chunk_extensions_have_a_limit(body: bytes) -> None:
    head = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    with served(reading) as port, connected(port, head) as client:
        send_until_refused(client, body, 4)
        assert ANSWER not in rest(client)


def test_trailers_are_no_headers_of_the_request() -> None:
    body = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-Api-Key: x\r\n\r\n"
    with served(small) as port, connected(port, body) as client:
        assert answer_of(client).endswith(b"2"), "Host and Transfer-Encoding"


def test_body_in_small_chunks_is_read() -> None:
    head = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    with served(reading) as port, connected(port, head + b"1\r\na\r\n" * 30_000 + b"0\r\n\r\n") as client:
        assert answer_of(client).endswith(b"30000")


@pytest.mark.parametrize("before", [b"", HEAD + b"\r\n"])
def test_stray_bytes_do_not_keep_a_connection(before: bytes) -> None:
    """The idle time after an answer, and that of a first request, go on."""
    with served(small, head_s=1.0) as port, connected(port, before) as client:
        if before:
            answer_of(client)
        assert waited(lambda: send_until_refused(client, b"\r\n", 1))


def test_head_has_a_time() -> None:
    with served(small, head_s=0.3) as port, connected(port, HEAD) as client:
        for _ in range(100):
            time.sleep(0.05)
            if send_until_refused(client, b"a: b\r\n", 1):
                return
        raise AssertionError("a head that never ends")


@pytest.mark.parametrize("bad", [b"nonsense\r\n\r\n", b"\x16\x03\x01\x02\x00\x01", b"GET /x y HTTP/1.1\r\n\r\n"])
def test_no_http_is_answered_with_a_problem(bad: bytes) -> None:
    with served(small) as port, connected(port, bad) as client:
        answer = rest(client)
    assert answer.startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["type"] == "urn:mien:malformed-head"


def test_offer_of_another_protocol_is_answered_in_this_one() -> None:
    with served(small) as port, connected(port, HEAD + b"Connection: upgrade\r\nUpgrade: h2c\r\n\r\n") as client:
        assert rest(client).startswith(ANSWER)


def test_requests_in_a_row_are_limited() -> None:
    async def slow(scope: Scope, receive: Receive, send: Send) -> None:
        await asyncio.sleep(0.3)
        await small(scope, receive, send)

    one = HEAD + b"\r\n"
    with served(slow) as port, connected(port, one * 5_000) as client:
        assert rest(client).count(ANSWER) == 0
    with served(small) as port, connected(port, one * 10) as client:
        assert rest(client).count(ANSWER) == 10


def test_answer_before_the_end_of_the_body_closes() -> None:
    head = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n"
    with served(small) as port, connected(port, head) as client:
        answer = answer_of(client)
        assert answer.startswith(ANSWER)
        assert b"connection: close" in answer
        sent = 0
        while not send_until_refused(client, bytes(2**20), 1):
            sent += 1
            assert sent < 64


def test_answer_before_a_small_body_keeps_the_connection() -> None:
    head = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\n"
    with served(small) as port, connected(port, head) as client:
        time.sleep(0.1)
        client.sendall(b"abc" + HEAD + b"\r\n")
        answer = b""
        while answer.count(ANSWER) < 2:
            answer += client.recv(1000)
        assert b"connection: close" not in answer


def test_another_connection_has_room_while_others_wait() -> None:
    """The one that has waited longest is closed for it, also one that sends the body of its request slowly."""
    slow_body = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\na"
    metrics = Metrics()
    with served(reading, metrics, per_address=3) as port:
        clients = [socket.create_connection(("127.0.0.1", port), timeout=5) for _ in range(20)]
        for client in clients:
            send_until_refused(client, slow_body, 1)
        with connected(port, HEAD + b"\r\n") as client:
            assert client.recv(100).startswith(ANSWER)
        for client in clients:
            client.close()
    assert b'mien_connections_closed_total{reason="made room"} 18.0' in metrics.exposition()


def test_connections_that_are_answered_make_no_room() -> None:
    begun, go = [], threading.Event()

    async def slow(scope: Scope, receive: Receive, send: Send) -> None:
        begun.append(scope)
        while not go.is_set():
            await asyncio.sleep(0.01)
        await small(scope, receive, send)

    one = HEAD + b"\r\n"
    with served(slow, connections=2) as port, connected(port, one) as first, connected(port, one) as second:
        assert waited(lambda: len(begun) == 2)
        with connected(port) as third:
            answer = rest(third)
        go.set()
        assert answer.startswith(b"HTTP/1.1 503 ")
        assert first.recv(100).startswith(ANSWER)
        assert second.recv(100).startswith(ANSWER)


def test_trusted_proxies_have_no_limit_of_their_own() -> None:
    with served(small, per_address=2, proxies=("127.0.0.0/8",)) as port:
        clients = [socket.create_connection(("127.0.0.1", port), timeout=5) for _ in range(8)]
        for client in clients:
            client.sendall(HEAD + b"\r\n")
            assert client.recv(100).startswith(ANSWER)
            client.close()


def test_answer_that_nobody_takes_is_cut_off() -> None:
    metrics = Metrics()
    with served(large(50_000_000), metrics, send_s=0.5) as port, connected(port, HEAD + b"\r\n"):
        assert waited(lambda: b'reason="unread"} 1.0' in metrics.exposition())
    with served(large(50_000_000), send_s=1.0) as port, connected(port, HEAD + b"\r\n") as client:
        read = 0
        while read < 50_000_000:  # slower than it could, and longer than the limit
            read += len(client.recv(1_000_000))
            time.sleep(0.01)


def test_answers_that_nobody_takes_have_a_budget() -> None:
    metrics = Metrics()
    with served(large(30_000_000), metrics, unread_bytes=50_000_000) as port:
        clients = [socket.create_connection(("127.0.0.1", port), timeout=5) for _ in range(5)]
        for client in clients:
            client.sendall(HEAD + b"\r\n")
        assert waited(lambda: b'reason="unread"} 4.0' in metrics.exposition())
        for client in clients:
            client.close()


def test_stopping_does_not_wait_for_answers_that_nobody_takes() -> None:
    clients = []
    with served(large(50_000_000)) as port:
        for _ in range(3):
            clients.append(socket.create_connection(("127.0.0.1", port), timeout=5))
            clients[-1].sendall(HEAD + b"\r\n")
            assert clients[-1].recv(10)
        began = time.monotonic()
    assert time.monotonic() - began < 10
    for client in clients:
        client.close()


def test_stopping_waits_a_little_for_bodies(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocols, "BODY_WHEN_STOPPING_S", 1.5)
    head = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\n"
    with socket.socket() as slow, socket.socket() as stalled:
        with served(reading) as port:
            for client in (slow, stalled):
                client.connect(("127.0.0.1", port))
                client.sendall(head)
            time.sleep(0.1)
            threading.Timer(0.2, slow.sendall, (b"abc",)).start()
            began = time.monotonic()
        assert time.monotonic() - began < 10
        assert rest(slow).startswith(ANSWER)
        assert rest(stalled) == b""


UPGRADE = (
    HEAD + b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
    b"Sec-WebSocket-Version: 13\r\n\r\n"
)


KIB = b"\x82\xfe\x04\0\0\0\0\0" + bytes(1024)


@pytest.mark.parametrize(
    "frames",
    [
        b"\x89\x81\0\0\0\0a",
        b"\x8a\x80\0\0\0\0",
        b"\x02\x80\0\0\0\0" + b"\x00\x80\0\0\0\0" * 50,
        b"\x82\x81\0\0\0\0a",
        KIB,
    ],
)
def test_frames_without_content_are_limited(frames: bytes) -> None:
    with served(echo) as port, connected(port, UPGRADE) as client:
        assert client.recv(1000).startswith(b"HTTP/1.1 101 ")
        assert waited(lambda: send_until_refused(client, frames * 2_000, 20))


def test_usual_frames_are_answered() -> None:
    picture = b"\x82\xff" + (200_000).to_bytes(8, "big") + bytes(4) + bytes(200_000)
    with served(echo) as port, connected(port, UPGRADE) as client:
        client.recv(1000)
        for _ in range(20):
            client.sendall(picture + b"\x8a\x80\0\0\0\0")
            assert client.recv(100).endswith(b"200000")


def test_messages_that_nobody_takes_are_cut_off() -> None:
    async def talkative(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        for _ in range(100):
            await send({"type": "websocket.send", "bytes": bytes(1_000_000)})

    metrics = Metrics()
    with served(talkative, metrics, send_s=0.5) as port, connected(port, UPGRADE):
        assert waited(lambda: b'reason="unread"} 1.0' in metrics.exposition())


def test_websocket_counts_as_a_connection() -> None:
    with served(echo, connections=1) as port:
        with connected(port, UPGRADE) as client:
            client.recv(1000)
            with connected(port, HEAD + b"\r\n") as second:
                assert rest(second).startswith(b"HTTP/1.1 503 ")
            client.sendall(b"\x82\x81\0\0\0\0a")
            assert client.recv(100).endswith(b"1")
        assert waited(lambda: _is_open(port))


def _is_open(port: int) -> bool:
    with connected(port, UPGRADE) as client:
        return client.recv(1000).startswith(b"HTTP/1.1 101 ")
